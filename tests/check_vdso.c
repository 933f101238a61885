/*
 * check_vdso - the generation of the kernel's generator: read from the real vDSO, and from made-up
 * ones that are laid out otherwise or misbehave. Owns: an ELF image in memory and the function in
 * it. May touch: the kernel's generator, by adding to it. Never does: need a kernel that has the
 * vDSO function, but to say so.
 */
#include <check.h>
#include <elf.h>
#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host/vdso.h"
#include "tests/support.h"

#if defined(__x86_64__)
#define NAME "__vdso_getrandom"
#elif defined(__aarch64__)
#define NAME "__kernel_getrandom"
#endif

#define STATE_BYTES   144u
#define AT_GENERATION 128u
#define AT_POS        136u
#define AT_IN_USE     137u
#define FUZZ_ROUNDS   20000

/* What getauxval() and mmap() below do instead of the C library's. */
struct stage {
	const void *image; /* NULL: the real vDSO */
	bool none;         /* there is no vDSO at all */
	int mmap_errno;    /* refuse mmap() so; 0: do it */
	int maps;          /* mappings made less those unmapped */
};

static struct stage stage;

unsigned long getauxval(unsigned long type)
{
	extern unsigned long __getauxval(unsigned long);

	if (type == AT_SYSINFO_EHDR && stage.none)
		return 0;
	if (type == AT_SYSINFO_EHDR && stage.image)
		return (unsigned long)stage.image;
	return __getauxval(type);
}

void *mmap(void *addr, size_t len, int prot, int flags, int fd, off_t offset)
{
	if (stage.mmap_errno) {
		errno = stage.mmap_errno;
		return MAP_FAILED;
	}
	stage.maps++;
	return (void *)syscall(SYS_mmap, addr, len, prot, flags, fd, offset);
}

int munmap(void *addr, size_t len)
{
	stage.maps--;
	return (int)syscall(SYS_munmap, addr, len);
}

static void no_handle(const struct vdso *vdso)
{
	static const struct vdso none;

	ck_assert_mem_eq(vdso, &none, sizeof(none));
	ck_assert_int_eq(stage.maps, 0);
}

static void refuse(int err)
{
	struct vdso vdso;

	memset(&vdso, 0x5a, sizeof(vdso));
	ck_assert_int_eq(vdso_init(&vdso), err);
	no_handle(&vdso);
	ck_assert_uint_eq(vdso_generation(&vdso), 0);
	vdso_deinit(&vdso);
	no_handle(&vdso);
}

static bool kernel_has_it(void)
{
	struct vdso vdso;
	int err = vdso_init(&vdso);

	vdso_deinit(&vdso);
	if (err && err != -ENOSYS) /* EPROTO would be news of a kernel to be looked at */
		printf("vdso_init: %s\n", strerror(-err));
	return err != -ENOSYS;
}

START_TEST(zeroed_handle)
{
	struct vdso vdso = {0};

	ck_assert_uint_eq(vdso_generation(&vdso), 0);
	vdso_deinit(&vdso);
	vdso_deinit(&vdso);
	no_handle(&vdso);
}
END_TEST

START_TEST(no_vdso)
{
	stage.none = true;
	refuse(-ENOSYS);
}
END_TEST

START_TEST(real_answers)
{
	struct vdso vdso;
	uint64_t last = 0, generation;

	ck_assert_int_eq(vdso_init(&vdso), 0);
	for (int i = 0; i < 1000; i++) {
		generation = vdso_generation(&vdso);
		ck_assert_uint_ne(generation, 0);
		ck_assert_uint_ge(generation, last);
		last = generation;
	}
	ck_assert_int_eq(stage.maps, 1);
	vdso_deinit(&vdso);
	no_handle(&vdso);
}
END_TEST

START_TEST(real_two_handles_agree)
{
	struct vdso a, b;
	bool equal = false;

	ck_assert_int_eq(vdso_init(&a), 0);
	ck_assert_int_eq(vdso_init(&b), 0);
	/* Twice, in case the kernel reseeds in between. */
	for (int i = 0; i < 2 && !equal; i++)
		equal = vdso_generation(&a) == vdso_generation(&b);
	ck_assert(equal);
	vdso_deinit(&a);
	vdso_deinit(&b);
}
END_TEST

/* The kernel takes the page away whenever it likes. */
START_TEST(real_survives_dropping)
{
	struct vdso vdso;
	uint64_t generation;

	ck_assert_int_eq(vdso_init(&vdso), 0);
	generation = vdso_generation(&vdso);
	for (int i = 0; i < 100; i++) {
		ck_assert_int_eq(madvise(vdso.state, vdso.map_bytes, MADV_DONTNEED), 0);
		ck_assert_uint_ge(vdso_generation(&vdso), generation);
	}
	vdso_deinit(&vdso);
}
END_TEST

/* 0: the child found its state wiped, and it works. */
static int in_child(struct vdso *vdso, uint64_t generation)
{
	const uint8_t *state = vdso->state;

	for (size_t i = 0; i < vdso->map_bytes; i++)
		if (state[i] != 0)
			return 1;
	if (vdso_generation(vdso) < generation)
		return 2;
	vdso_deinit(vdso);
	return 0;
}

START_TEST(real_survives_fork)
{
	struct vdso vdso;
	uint64_t generation;
	int status;
	pid_t pid;

	ck_assert_int_eq(vdso_init(&vdso), 0);
	generation = vdso_generation(&vdso);
	pid = fork();
	ck_assert_int_ge(pid, 0);
	if (pid == 0)
		_exit(in_child(&vdso, generation));
	ck_assert_int_eq(waitpid(pid, &status, 0), pid);
	ck_assert_int_eq(status, 0);
	ck_assert_uint_ge(vdso_generation(&vdso), generation);
	vdso_deinit(&vdso);
}
END_TEST

START_TEST(real_moves_at_a_reseed)
{
	struct vdso vdso;
	uint64_t generation;

	ck_assert_int_eq(vdso_init(&vdso), 0);
	for (int i = 0; i < 10; i++) {
		generation = vdso_generation(&vdso);
		ck_assert(support_reseed_kernel());
		ck_assert_uint_gt(vdso_generation(&vdso), generation);
	}
	vdso_deinit(&vdso);
}
END_TEST

#ifdef NAME

/* The made-up function: what it says of itself, and what it does. */
struct fake {
	int params_result;
	uint32_t state_bytes;
	ssize_t result;
	uint64_t generation;
	int64_t step;       /* added to generation at each call */
	int dropped;        /* calls whose state is gone before it is looked at */
	uint8_t pos;        /* more than 96: nothing like a batch position */
	uint8_t in_use;     /* left behind */
	unsigned int calls; /* for a byte */
	unsigned int flags;
	size_t bytes;
};

static struct fake fake;

struct params {
	uint32_t state_bytes, mmap_prot, mmap_flags, reserved[13];
};

static ssize_t fake_getrandom(void *buf, size_t len, unsigned int flags, void *state,
			      size_t state_bytes)
{
	uint8_t *bytes = state;

	if (!buf && state_bytes == ~(size_t)0) {
		struct params params = {.state_bytes = fake.state_bytes,
					.mmap_prot = PROT_READ | PROT_WRITE,
					.mmap_flags = MAP_PRIVATE | MAP_ANONYMOUS};

		memcpy(state, &params, sizeof(params));
		return fake.params_result;
	}
	fake.calls++;
	fake.flags = flags;
	fake.bytes = len;
	ck_assert_uint_eq(state_bytes, STATE_BYTES);
	if (fake.result < 0)
		return fake.result;
	memset(buf, 0xa5, len);
	memset(bytes, 0, STATE_BYTES);
	if (fake.dropped > 0) {
		fake.dropped--;
		return fake.result;
	}
	memcpy(bytes + AT_GENERATION, &fake.generation, sizeof(fake.generation));
	bytes[AT_POS] = fake.pos;
	bytes[AT_IN_USE] = fake.in_use;
	fake.generation += (uint64_t)fake.step;
	return fake.result;
}

/* A vDSO of one page with a page behind it that must not be touched. */
struct image {
	Elf64_Ehdr head;
	Elf64_Phdr parts[2];
	Elf64_Dyn dynamic[5];
	Elf64_Sym symbols[4];
	char strings[64];
	uint32_t hash[8]; /* 1 bucket, 4 chains */
	struct {
		uint32_t head[4]; /* 2 buckets, 1 unhashed, 1 word, shift */
		uint64_t bloom[1];
		uint32_t buckets[2], chains[3];
	} gnu;
	uint8_t code[32];
	uint8_t rest[];
};

enum tables { HASH = 1, GNU_HASH = 2 };

static struct image *image;

static void write_code(uint8_t *code)
{
	ssize_t (*target)(void *, size_t, unsigned int, void *, size_t) = fake_getrandom;
#ifdef __x86_64__
	/* endbr64; movabs $target, %rax; jmp *%rax */
	static const uint8_t begin[] = {0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0xb8}, end[] = {0xff, 0xe0};
#else
	/* bti c; ldr x16, . + 12; br x16; nop; then the address, at a multiple of 8 */
	static const uint8_t begin[] = {0x5f, 0x24, 0x03, 0xd5, 0x70, 0x00, 0x00, 0x58,
					0x00, 0x02, 0x1f, 0xd6, 0x1f, 0x20, 0x03, 0xd5},
			     end[] = {0};
#endif
	memcpy(code, begin, sizeof(begin));
	memcpy(code + sizeof(begin), &target, sizeof(target));
	memcpy(code + sizeof(begin) + sizeof(target), end, sizeof(end));
}

#define IN_IMAGE(member) ((uint64_t)offsetof(struct image, member))

static void build(int tables)
{
	static const char strings[] = "\0clock\0" NAME;
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	int n = 0;

	if (!image) {
		uint8_t *pages = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE | PROT_EXEC,
				      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		ck_assert(pages != MAP_FAILED);
		ck_assert_int_eq(mprotect(pages + page, page, PROT_NONE), 0);
		image = (struct image *)(void *)(pages + page - 4096);
		stage.maps = 0;
	}
	memset(image, 0, 4096);
	memcpy(image->head.e_ident, ELFMAG, SELFMAG);
	image->head.e_ident[EI_CLASS] = ELFCLASS64;
	image->head.e_phoff = IN_IMAGE(parts);
	image->head.e_phentsize = sizeof(Elf64_Phdr);
	image->head.e_phnum = 2;
	image->parts[0] = (Elf64_Phdr){.p_type = PT_LOAD, .p_filesz = 4096, .p_memsz = 4096};
	image->parts[1] = (Elf64_Phdr){.p_type = PT_DYNAMIC,
				       .p_vaddr = IN_IMAGE(dynamic),
				       .p_offset = IN_IMAGE(dynamic),
				       .p_filesz = sizeof(image->dynamic)};
	if (tables & HASH)
		image->dynamic[n++] = (Elf64_Dyn){DT_HASH, {IN_IMAGE(hash)}};
	if (tables & GNU_HASH)
		image->dynamic[n++] = (Elf64_Dyn){DT_GNU_HASH, {IN_IMAGE(gnu)}};
	image->dynamic[n++] = (Elf64_Dyn){DT_STRTAB, {IN_IMAGE(strings)}};
	image->dynamic[n++] = (Elf64_Dyn){DT_SYMTAB, {IN_IMAGE(symbols)}};
	memcpy(image->strings, strings, sizeof(strings));
	for (unsigned int i = 1; i < 4; i++)
		image->symbols[i] = (Elf64_Sym){.st_name = i == 3 ? 7 : 1,
						.st_info = ELF64_ST_INFO(STB_GLOBAL, STT_FUNC),
						.st_shndx = 5,
						.st_value = IN_IMAGE(code),
						.st_size = 32};
	image->hash[0] = 1;
	image->hash[1] = 4;
	image->gnu.head[0] = 2;
	image->gnu.head[1] = 1;
	image->gnu.head[2] = 1;
	image->gnu.buckets[0] = 2; /* the last bucket need not be the one that ends */
	image->gnu.buckets[1] = 1;
	image->gnu.chains[0] = 1;
	image->gnu.chains[2] = 1;
	write_code(image->code);
	__builtin___clear_cache((char *)image->code, (char *)image->rest);
	stage.image = image;
	fake = (struct fake){.state_bytes = STATE_BYTES, .result = 1, .generation = 7, .pos = 95};
}

static void works(void)
{
	struct vdso vdso;

	ck_assert_int_eq(vdso_init(&vdso), 0);
	ck_assert_uint_eq(vdso_generation(&vdso), 7);
	fake.generation = 8;
	ck_assert_uint_eq(vdso_generation(&vdso), 8);
	vdso_deinit(&vdso);
	no_handle(&vdso);
}

START_TEST(found_by_either_table)
{
	build(HASH);
	works();
	build(GNU_HASH);
	works();
	build(HASH | GNU_HASH);
	works();
	build(0);
	refuse(-ENOSYS);
	/* A GNU table without a chain: all there is comes before the first symbol hashed. */
	build(GNU_HASH);
	image->gnu.head[1] = 4;
	image->gnu.buckets[0] = image->gnu.buckets[1] = 0;
	image->gnu.bloom[0] = 1; /* the end of a chain, for who reads before the first */
	memset(image->gnu.chains, 0xff, sizeof(image->gnu.chains));
	works();
}
END_TEST

/* As if linked at an address of its own: the tables' addresses move with it. */
START_TEST(found_when_linked_elsewhere)
{
	const uint64_t at = 0xffffffffff700000u;

	for (int tables = HASH; tables <= GNU_HASH; tables++) {
		build(tables);
		image->parts[0].p_vaddr = at;
		image->parts[1].p_vaddr += at;
		for (int i = 0; i < 3; i++)
			image->dynamic[i].d_un.d_ptr += at;
		for (int i = 1; i < 4; i++)
			image->symbols[i].st_value += at;
		works();
	}
}
END_TEST

/* Ways in which an image can have no such function. */
static void spoil(int i)
{
	Elf64_Sym *symbol = &image->symbols[3];

	switch (i) {
	case 0:
		image->head.e_ident[0] = 0;
		break;
	case 1:
		image->head.e_ident[EI_CLASS] = ELFCLASS32;
		break;
	case 2:
		image->head.e_phentsize--;
		break;
	case 3:
		image->head.e_phnum = 1;
		break;
	case 4:
		image->head.e_phoff = UINT64_MAX - 63;
		break;
	case 5:
		image->head.e_phnum = UINT16_MAX;
		break;
	case 6:
		image->parts[0].p_type = PT_NOTE;
		break;
	case 7:
		image->parts[0].p_offset = 1;
		break;
	case 8:
		image->parts[0].p_filesz = UINT64_MAX;
		break;
	case 9:
		image->parts[1].p_vaddr = UINT64_MAX - 3;
		break;
	case 10:
		image->dynamic[0].d_tag = DT_NULL;
		break;
	case 11:
		image->strings[8]++;
		break;
	case 12:
		image->strings[7 + sizeof(NAME) - 1] = '2';
		break;
	case 13:
		symbol->st_info = ELF64_ST_INFO(STB_GLOBAL, STT_OBJECT);
		break;
	case 14:
		symbol->st_info = ELF64_ST_INFO(STB_LOCAL, STT_FUNC);
		break;
	case 15:
		symbol->st_shndx = SHN_UNDEF;
		break;
	case 16:
		symbol->st_value = 4096;
		break;
	case 17:
		symbol->st_value = UINT64_MAX;
		break;
	case 18:
		symbol->st_name = UINT32_MAX;
		break;
	case 19:
		symbol->st_name = (uint32_t)(4096 - IN_IMAGE(strings) - 4);
		break;
	default:
		image->hash[1] = 3;
		image->gnu.head[2] = 0xffffffff;
	}
}

#define SPOILED 21

START_TEST(spoiled_image)
{
	for (int tables = HASH; tables <= GNU_HASH; tables++) {
		build(tables);
		spoil(_i);
		refuse(-ENOSYS);
	}
}
END_TEST

/* Nothing behind the end is read, wherever the end is. */
START_TEST(short_image)
{
	for (int tables = HASH; tables <= GNU_HASH; tables++)
		for (uint64_t bytes = 0; bytes <= IN_IMAGE(code); bytes++) {
			build(tables);
			image->parts[0].p_filesz = bytes;
			refuse(-ENOSYS);
		}
}
END_TEST

/* An image of noise ends in "no", not in a read outside of it. The name is spared: it is wrong. */
START_TEST(fuzzed_image)
{
	unsigned int seed = (unsigned int)_i;

	for (int round = 0; round < FUZZ_ROUNDS; round++) {
		build(round % 2 ? HASH : GNU_HASH);
		image->strings[8]++;
		for (int n = 0; n < 4; n++) {
			size_t at = (size_t)rand_r(&seed) % IN_IMAGE(code);

			if (at < IN_IMAGE(strings) || at >= IN_IMAGE(hash))
				((uint8_t *)image)[at] = (uint8_t)rand_r(&seed);
		}
		/* The kernel's word for the size of its own image is taken. */
		if (image->parts[0].p_filesz > 4096)
			image->parts[0].p_filesz = 4096;
		if (image->parts[1].p_type == PT_LOAD && image->parts[1].p_filesz > 4096)
			image->parts[1].p_filesz = 4096;
		refuse(-ENOSYS);
	}
}
END_TEST

START_TEST(asks_for_one_byte_without_waiting)
{
	build(HASH);
	works();
	ck_assert_uint_eq(fake.flags, GRND_NONBLOCK);
	ck_assert_uint_eq(fake.bytes, 1);
}
END_TEST

START_TEST(other_state)
{
	static const uint32_t sizes[] = {0, 136, 143, 145, 152, 256, 4096, UINT32_MAX};

	for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
		build(HASH);
		fake.state_bytes = sizes[i];
		refuse(-EPROTO);
		ck_assert_uint_eq(fake.calls, 0); /* a state of unknown size is not passed on */
	}
	build(HASH);
	fake.params_result = -ENOSYS;
	refuse(-ENOSYS);
	ck_assert_uint_eq(fake.calls, 0);
}
END_TEST

START_TEST(misbehaving_state)
{
	build(HASH);
	fake.generation = 0;
	refuse(-EPROTO);
	build(HASH);
	fake.step = -1;
	refuse(-EPROTO);
	build(HASH);
	fake.pos = 97;
	refuse(-EPROTO);
	build(HASH);
	fake.in_use = 1;
	refuse(-EPROTO);
	build(HASH);
	fake.result = 0;
	refuse(-EPROTO);
	build(HASH);
	fake.step = 1; /* this is as it should be */
	ck_assert_int_eq(vdso_init(&(struct vdso){0}), 0);
}
END_TEST

START_TEST(failing_call)
{
	struct vdso vdso;

	build(HASH);
	fake.result = -EAGAIN; /* the kernel's generator is not ready */
	refuse(-EAGAIN);
	build(HASH);
	ck_assert_int_eq(vdso_init(&vdso), 0);
	fake.result = -EPERM;
	ck_assert_uint_eq(vdso_generation(&vdso), 0);
	fake.result = 1;
	ck_assert_uint_eq(vdso_generation(&vdso), 7);
	vdso_deinit(&vdso);
}
END_TEST

/* Dropped right after the call: again, but not for ever. */
START_TEST(dropped_state)
{
	struct vdso vdso;

	build(HASH);
	ck_assert_int_eq(vdso_init(&vdso), 0);
	fake.dropped = 3;
	ck_assert_uint_eq(vdso_generation(&vdso), 7);
	ck_assert_int_eq(fake.dropped, 0);
	fake.dropped = 1000;
	ck_assert_uint_eq(vdso_generation(&vdso), 0);
	ck_assert_int_gt(fake.dropped, 900);
	fake.dropped = 0;
	ck_assert_uint_eq(vdso_generation(&vdso), 7);
	vdso_deinit(&vdso);
}
END_TEST

/* A state that the vDSO passes over keeps its old generation for good. */
START_TEST(stuck_state)
{
	struct vdso vdso;

	build(HASH);
	ck_assert_int_eq(vdso_init(&vdso), 0);
	fake.in_use = 1;
	ck_assert_uint_eq(vdso_generation(&vdso), 0);
	fake.in_use = 0;
	ck_assert_uint_eq(vdso_generation(&vdso), 7);
	vdso_deinit(&vdso);
}
END_TEST

START_TEST(refused_mapping)
{
	build(HASH);
	stage.mmap_errno = EINVAL; /* a kernel or a filter that knows no MAP_DROPPABLE */
	refuse(-ENOSYS);
	stage.mmap_errno = EOPNOTSUPP;
	refuse(-ENOSYS);
	stage.mmap_errno = ENOMEM;
	refuse(-ENOMEM);
	stage.mmap_errno = 0;
	works();
}
END_TEST

static void add_images(TCase *tcase)
{
	tcase_add_test(tcase, found_by_either_table);
	tcase_add_test(tcase, found_when_linked_elsewhere);
	tcase_add_loop_test(tcase, spoiled_image, 0, SPOILED);
	tcase_add_test(tcase, short_image);
	tcase_add_loop_test(tcase, fuzzed_image, 0, 2);
	tcase_add_test(tcase, asks_for_one_byte_without_waiting);
	tcase_add_test(tcase, other_state);
	tcase_add_test(tcase, misbehaving_state);
	tcase_add_test(tcase, failing_call);
	tcase_add_test(tcase, dropped_state);
	tcase_add_test(tcase, stuck_state);
	tcase_add_test(tcase, refused_mapping);
}

#endif

static void add_real(TCase *tcase)
{
	if (!kernel_has_it()) {
		printf("SKIP: vDSO getrandom: not in this kernel\n");
		return;
	}
	tcase_add_test(tcase, real_answers);
	tcase_add_test(tcase, real_two_handles_agree);
	tcase_add_test(tcase, real_survives_dropping);
	tcase_add_test(tcase, real_survives_fork);
	if (support_reseed_kernel())
		tcase_add_test(tcase, real_moves_at_a_reseed);
	else
		printf("SKIP: a reseed of the kernel: not permitted\n");
}

int main(void)
{
	Suite *suite = suite_create("vdso");
	TCase *tcase = tcase_create("vdso");
	SRunner *runner = srunner_create(suite);
	int failed;

	suite_add_tcase(suite, tcase);
	tcase_add_test(tcase, zeroed_handle);
	tcase_add_test(tcase, no_vdso);
#ifdef RNGD_TEST_FALLBACK
	printf("SKIP: vDSO getrandom: refused in this build\n");
	(void)add_real;
#ifdef NAME
	(void)add_images;
#endif
#else
	add_real(tcase);
#ifdef NAME
	add_images(tcase);
#else
	printf("SKIP: vDSO images: not read on this processor\n");
#endif
#endif
	srunner_run_all(runner, CK_NORMAL);
	failed = srunner_ntests_failed(runner);
	srunner_free(runner);
	return failed ? 1 : 0;
}
