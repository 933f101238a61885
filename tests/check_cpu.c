/*
 * check_cpu - what host/cpu says of the processor, against what the kernel says. Owns: nothing. May
 * touch: /proc/cpuinfo. Never does: pass because a processor lacks something without saying so.
 */
#include <check.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "host/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

#define WORDS 64

/* RDSEED may run dry while other cores draw on it, but not this often in a row. */
#define TRIES 100

/* Is the word among the flags of the first processor? */
static bool kernel_lists(const char *flag)
{
	FILE *file = fopen("/proc/cpuinfo", "re");
	char *line = NULL, *rest, *word;
	bool found = false;
	size_t size = 0;

	ck_assert_ptr_nonnull(file);
	while (getline(&line, &size, file) > 0) {
		if (strncmp(line, "flags", 5) != 0)
			continue;
		rest = strchr(line, ':') + 1;
		while (!found && (word = strsep(&rest, " \n")))
			found = strcmp(word, flag) == 0;
		break;
	}
	free(line);
	fclose(file);
	return found;
}

/* The kernel lists these only where it also saves their registers: cpuid and XCR0 together. */
START_TEST(vector_isa_agrees_with_the_kernel)
{
	ck_assert_int_eq(cpu_has_avx2(), kernel_lists("avx2"));
	ck_assert_int_eq(cpu_has_avx512(), kernel_lists("avx512f") && kernel_lists("avx512vl") &&
					       kernel_lists("avx512bw"));
	ck_assert(!kernel_lists("no-such-flag"));
	ck_assert(kernel_lists("sse2"));
}
END_TEST

static void check_random(const char *flag, bool has, bool cpuid_has)
{
	ck_assert_int_eq(has, cpuid_has);
	if (kernel_lists(flag))
		ck_assert_msg(has, "the kernel lists %s", flag);
	else if (has)
		printf("NOTE: the kernel does not list %s, which cpuid has\n", flag);
}

/*
 * The kernel's list may lack what is there: it withdraws RDSEED where the 32-bit form is broken
 * (AMD Zen 5, CVE-2025-62626), though the 64-bit form, the only one used here, works.
 */
START_TEST(random_instructions_agree_with_cpuid)
{
	unsigned a, b = 0, c = 0, d;

	check_random("rdrand", cpu_has_rdrand(), __get_cpuid(1, &a, &b, &c, &d) && c & bit_RDRND);
	check_random("rdseed", cpu_has_rdseed(),
		     __get_cpuid_count(7, 0, &a, &b, &c, &d) && b & bit_RDSEED);
}
END_TEST

/* The compiler's own detection, written by other people, is a second opinion. */
START_TEST(agrees_with_the_compiler)
{
	__builtin_cpu_init();
	ck_assert_int_eq(cpu_has_avx2(), __builtin_cpu_supports("avx2") != 0);
	ck_assert_int_eq(cpu_has_avx512(), __builtin_cpu_supports("avx512f") &&
					       __builtin_cpu_supports("avx512vl") &&
					       __builtin_cpu_supports("avx512bw"));
}
END_TEST

static void check_words(const char *name, bool present, bool (*read_word)(uint64_t *))
{
	uint64_t words[WORDS], all_or = 0, all_and = UINT64_MAX;
	int tries;

	if (!present) {
		printf("SKIP: this processor has no %s\n", name);
		return;
	}
	for (size_t i = 0; i < WORDS; i++) {
		words[i] = 1;
		for (tries = 0; tries < TRIES && !read_word(&words[i]); tries++)
			ck_assert_uint_eq(words[i], 0);
		ck_assert_msg(tries < TRIES, "%s does not answer", name);
		all_or |= words[i];
		all_and &= words[i];
		for (size_t j = 0; j < i; j++)
			ck_assert_msg(words[i] != words[j], "%s repeats itself", name);
	}
	/* Every bit was seen as 0 and as 1: wrong by chance once in 2^57. */
	ck_assert_uint_eq(all_or, UINT64_MAX);
	ck_assert_uint_eq(all_and, 0);
}

START_TEST(rdrand_gives_different_words)
{
	check_words("RDRAND", cpu_has_rdrand(), cpu_rdrand64);
}
END_TEST

START_TEST(rdseed_gives_different_words)
{
	check_words("RDSEED", cpu_has_rdseed(), cpu_rdseed64);
}
END_TEST

START_TEST(cycles_advance)
{
	uint64_t before = cpu_cycles(), after = before;

	ck_assert_uint_ne(before, 0);
	for (int i = 0; i < 1000 && after == before; i++)
		after = cpu_cycles();
	ck_assert_uint_ne(after, before);
}
END_TEST

#else

START_TEST(everything_is_absent)
{
	uint64_t value = 1;

	ck_assert(!cpu_has_avx2() && !cpu_has_avx512() && !cpu_has_rdrand() && !cpu_has_rdseed());
	ck_assert(!cpu_rdrand64(&value));
	ck_assert_uint_eq(value, 0);
	value = 1;
	ck_assert(!cpu_rdseed64(&value));
	ck_assert_uint_eq(value, 0);
	ck_assert_uint_eq(cpu_cycles(), 0);
}
END_TEST

#endif

int main(void)
{
	Suite *suite = suite_create("cpu");
	TCase *tcase = tcase_create("cpu");
	SRunner *sr = srunner_create(suite);
	int failed;

#if defined(__x86_64__)
	tcase_add_test(tcase, vector_isa_agrees_with_the_kernel);
	tcase_add_test(tcase, random_instructions_agree_with_cpuid);
	tcase_add_test(tcase, agrees_with_the_compiler);
	tcase_add_test(tcase, rdrand_gives_different_words);
	tcase_add_test(tcase, rdseed_gives_different_words);
	tcase_add_test(tcase, cycles_advance);
#else
	tcase_add_test(tcase, everything_is_absent);
#endif
	suite_add_tcase(suite, tcase);
	srunner_run_all(sr, CK_NORMAL);
	failed = srunner_ntests_failed(sr);
	srunner_free(sr);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
