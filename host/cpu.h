/*
 * host/cpu - what the processor offers: instruction sets that are both present and
 * enabled by the operating system, and its hardware random instructions.
 *
 * Source: Intel SDM vol. 1 chapter 14 (detection of AVX, AVX2, AVX-512: CPUID and
 * XCR0) and section 7.3.17 (RDRAND/RDSEED retry advice). On other processors every
 * answer is "no".
 */
#ifndef HOST_CPU_H
#define HOST_CPU_H

#include <stdbool.h>
#include <stdint.h>

/* AVX2 present, and ymm state enabled in XCR0. */
bool cpu_has_avx2(void);

/* AVX-512 F, VL and BW present, and opmask and zmm state enabled in XCR0. */
bool cpu_has_avx512(void);

/* The instructions exist (CPUID); whether they answer shows when they are called. */
bool cpu_has_rdrand(void);
bool cpu_has_rdseed(void);

/*
 * One 64-bit value, with the retries Intel advises. false: not present, or the unit did
 * not answer within them; *value is then 0. Call only where cpu_has_*() was true.
 */
bool cpu_rdrand64(uint64_t *value);
bool cpu_rdseed64(uint64_t *value);

/*
 * Clears every vector register. For after calls of code that is not ours and handles keys: a
 * signal frame or a later spill would bring what it left there to the stack. Asks cpuid each
 * time, which a hypervisor makes slow: not for every request.
 */
void cpu_wipe_vectors(void);

/* A fast running counter (the TSC on x86), 0 where there is none. Equal in VM clones. */
uint64_t cpu_cycles(void);

#endif
