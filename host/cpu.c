/*
 * Owns: nothing. May touch: cpuid, xgetbv, rdrand, rdseed, rdtsc.
 * Never does: system calls, or trust the operating system's word for an instruction set.
 */
#include "host/cpu.h"

#if defined(__x86_64__)

#include <cpuid.h>

/* Intel SDM vol. 1, 7.3.17.1: after ten failures in a row RDRAND is to be taken as broken. */
#define CPU_RDRAND_TRIES 10
/* RDSEED may run dry under load from other cores; a pause between tries lets it refill. */
#define CPU_RDSEED_TRIES 100

#define CPU_XCR0_YMM 0x06u /* SSE and AVX state */
#define CPU_XCR0_ZMM 0xe6u /* and opmask, upper zmm0-15, zmm16-31 */

#define CPU_LEAF1_ECX_OSXSAVE (1u << 27)
#define CPU_LEAF1_ECX_RDRAND  (1u << 30)
#define CPU_LEAF7_EBX_AVX2    (1u << 5)
#define CPU_LEAF7_EBX_RDSEED  (1u << 18)
#define CPU_LEAF7_EBX_AVX512  ((1u << 16) | (1u << 30) | (1u << 31)) /* F, BW, VL */

static uint32_t leaf1_ecx(void)
{
	unsigned a, b, c, d;

	return __get_cpuid(1, &a, &b, &c, &d) ? c : 0;
}

static uint32_t leaf7_ebx(void)
{
	unsigned a, b, c, d;

	return __get_cpuid_count(7, 0, &a, &b, &c, &d) ? b : 0;
}

/* What the operating system saves and restores at a context switch. */
static uint32_t xcr0(void)
{
	uint32_t eax, edx;

	if (!(leaf1_ecx() & CPU_LEAF1_ECX_OSXSAVE))
		return 0;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

static bool vector_isa(uint32_t leaf7_bits, uint32_t xcr0_bits)
{
	return (leaf7_ebx() & leaf7_bits) == leaf7_bits && (xcr0() & xcr0_bits) == xcr0_bits;
}

bool cpu_has_avx2(void)
{
	return vector_isa(CPU_LEAF7_EBX_AVX2, CPU_XCR0_YMM);
}

bool cpu_has_avx512(void)
{
	return vector_isa(CPU_LEAF7_EBX_AVX512, CPU_XCR0_ZMM);
}

bool cpu_has_rdrand(void)
{
	return leaf1_ecx() & CPU_LEAF1_ECX_RDRAND;
}

bool cpu_has_rdseed(void)
{
	return leaf7_ebx() & CPU_LEAF7_EBX_RDSEED;
}

bool cpu_rdrand64(uint64_t *value)
{
	unsigned char ok;

	for (int i = 0; i < CPU_RDRAND_TRIES; i++) {
		__asm__ volatile("rdrand %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
		if (ok)
			return true;
	}
	*value = 0;
	return false;
}

bool cpu_rdseed64(uint64_t *value)
{
	unsigned char ok;

	for (int i = 0; i < CPU_RDSEED_TRIES; i++) {
		__asm__ volatile("rdseed %0; setc %1" : "=r"(*value), "=qm"(ok) : : "cc");
		if (ok)
			return true;
		__asm__ volatile("pause");
	}
	*value = 0;
	return false;
}

#define CPU_WIPE_16(n)  "vpxord %%zmm" #n ", %%zmm" #n ", %%zmm" #n "\n\t"
#define CPU_WIPE_SSE(n) "pxor %%xmm" #n ", %%xmm" #n "\n\t"

void cpu_wipe_vectors(void)
{
	/* clang-format off */
	if (vector_isa(0, CPU_XCR0_YMM))
		__asm__ volatile("vzeroall" : : :
			"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			"xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	else
		__asm__ volatile(
			CPU_WIPE_SSE(0) CPU_WIPE_SSE(1) CPU_WIPE_SSE(2) CPU_WIPE_SSE(3)
			CPU_WIPE_SSE(4) CPU_WIPE_SSE(5) CPU_WIPE_SSE(6) CPU_WIPE_SSE(7)
			CPU_WIPE_SSE(8) CPU_WIPE_SSE(9) CPU_WIPE_SSE(10) CPU_WIPE_SSE(11)
			CPU_WIPE_SSE(12) CPU_WIPE_SSE(13) CPU_WIPE_SSE(14) CPU_WIPE_SSE(15) : : :
			"xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7", "xmm8",
			"xmm9", "xmm10", "xmm11", "xmm12", "xmm13", "xmm14", "xmm15");
	/* This file's own code cannot use these, so there is nothing to tell the compiler. */
	if (cpu_has_avx512())
		__asm__ volatile(
			CPU_WIPE_16(16) CPU_WIPE_16(17) CPU_WIPE_16(18) CPU_WIPE_16(19)
			CPU_WIPE_16(20) CPU_WIPE_16(21) CPU_WIPE_16(22) CPU_WIPE_16(23)
			CPU_WIPE_16(24) CPU_WIPE_16(25) CPU_WIPE_16(26) CPU_WIPE_16(27)
			CPU_WIPE_16(28) CPU_WIPE_16(29) CPU_WIPE_16(30) CPU_WIPE_16(31) : :);
	/* clang-format on */
}

uint64_t cpu_cycles(void)
{
	uint32_t eax, edx;

	__asm__ volatile("rdtsc" : "=a"(eax), "=d"(edx));
	return (uint64_t)edx << 32 | eax;
}

#else

bool cpu_has_avx2(void)
{
	return false;
}

bool cpu_has_avx512(void)
{
	return false;
}

bool cpu_has_rdrand(void)
{
	return false;
}

bool cpu_has_rdseed(void)
{
	return false;
}

bool cpu_rdrand64(uint64_t *value)
{
	*value = 0;
	return false;
}

bool cpu_rdseed64(uint64_t *value)
{
	*value = 0;
	return false;
}

void cpu_wipe_vectors(void)
{
}

uint64_t cpu_cycles(void)
{
	return 0;
}

#endif
