/*
 * Owns: one mapping a handle, the vDSO's opaque state. May touch: the vDSO's image, by reading, and
 * the function in it. Never does: call what did not say its size first, or wait for the kernel.
 */
#include "host/vdso.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#if (defined(__x86_64__) && !defined(__ILP32__)) || (defined(__aarch64__) && !defined(__ILP32__))
#define VDSO_SUPPORTED
#endif

#if defined(VDSO_SUPPORTED) && !defined(RNGD_TEST_FALLBACK)

#include <elf.h>
#include <sys/auxv.h>
#include <sys/random.h>

#ifdef __x86_64__
#define VDSO_NAME "__vdso_getrandom"
#else
#define VDSO_NAME "__kernel_getrandom"
#endif

/* The kernel maps whole pages, of this size at least: what can be read before the size is known. */
#define VDSO_FIRST_BYTES 4096u
/* Far more than any has; a larger number is none. */
#define VDSO_BYTES_MAX   (1u << 20)
#define VDSO_SYMBOLS_MAX 4096u

/* struct vgetrandom_state, the one form known here. */
#define VDSO_STATE_BYTES      144u
#define VDSO_STATE_GENERATION 128u /* u64 */
#define VDSO_STATE_POS        136u /* u8: bytes of the batch that were used */
#define VDSO_STATE_IN_USE     137u /* bool: a call is under way */
#define VDSO_BATCH_BYTES      96u

/* A page can be dropped between a call and the load after it; that often in a row it is not. */
#define VDSO_TRIES 4
/* Calls that must behave before the state is believed to be as described here. */
#define VDSO_TRIAL_CALLS 3

typedef ssize_t vdso_getrandom_fn(void *buf, size_t len, unsigned int flags, void *state,
				  size_t state_bytes);

/* struct vgetrandom_opaque_params. */
struct vdso_params {
	uint32_t state_bytes;
	uint32_t mmap_prot;
	uint32_t mmap_flags;
	uint32_t reserved[13];
};

/* A loaded ELF image, addressed as it was linked. */
struct vdso_image {
	const uint8_t *base;
	uint64_t first; /* linked address of base */
	uint64_t bytes;
};

struct vdso_tables {
	uint64_t symbols; /* linked addresses; 0: there is none */
	uint64_t strings;
	uint64_t hash;
	uint64_t gnu_hash;
};

/*
 * Copies out, so that neither bounds nor alignment are a question. false: not all in the image; an
 * address below it wraps to one far behind it.
 */
static bool image_get(const struct vdso_image *image, uint64_t address, void *out, size_t bytes)
{
	uint64_t at = address - image->first;

	if (at > image->bytes || image->bytes - at < bytes)
		return false;
	memcpy(out, image->base + at, bytes);
	return true;
}

static bool image_get_u32(const struct vdso_image *image, uint64_t address, uint64_t index,
			  uint32_t *out)
{
	return image_get(image, address + index * sizeof(*out), out, sizeof(*out));
}

/* Finds out what is mapped and where the dynamic section is. */
static bool image_open(struct vdso_image *image, const void *base, Elf64_Phdr *dynamic)
{
	bool has_load = false, has_dynamic = false;
	struct vdso_image loaded;
	Elf64_Ehdr head;
	Elf64_Phdr part;

	*image = (struct vdso_image){.base = base, .bytes = VDSO_FIRST_BYTES};
	if (!image_get(image, 0, &head, sizeof(head)) ||
	    memcmp(head.e_ident, ELFMAG, SELFMAG) != 0 || head.e_ident[EI_CLASS] != ELFCLASS64 ||
	    head.e_phentsize != sizeof(part) || head.e_phoff > VDSO_FIRST_BYTES)
		return false;
	memset(dynamic, 0, sizeof(*dynamic));
	loaded = *image;
	for (unsigned int i = 0; i < head.e_phnum; i++) {
		if (!image_get(image, head.e_phoff + i * sizeof(part), &part, sizeof(part)))
			return false;
		if (part.p_type == PT_DYNAMIC) {
			*dynamic = part;
			has_dynamic = true;
		} else if (part.p_type == PT_LOAD && !has_load) {
			if (part.p_offset != 0 || part.p_filesz > VDSO_BYTES_MAX)
				return false;
			loaded.first = part.p_vaddr;
			loaded.bytes = part.p_filesz;
			has_load = true;
		}
	}
	*image = loaded;
	return has_load && has_dynamic;
}

static void image_tables(const struct vdso_image *image, const Elf64_Phdr *dynamic,
			 struct vdso_tables *tables)
{
	Elf64_Dyn entry;

	memset(tables, 0, sizeof(*tables));
	for (uint64_t at = 0; at + sizeof(entry) <= dynamic->p_filesz; at += sizeof(entry)) {
		if (!image_get(image, dynamic->p_vaddr + at, &entry, sizeof(entry)) ||
		    entry.d_tag == DT_NULL)
			return;
		if (entry.d_tag == DT_SYMTAB)
			tables->symbols = entry.d_un.d_ptr;
		else if (entry.d_tag == DT_STRTAB)
			tables->strings = entry.d_un.d_ptr;
		else if (entry.d_tag == DT_HASH)
			tables->hash = entry.d_un.d_ptr;
		else if (entry.d_tag == DT_GNU_HASH)
			tables->gnu_hash = entry.d_un.d_ptr;
	}
}

/*
 * A GNU hash table does not say how many symbols there are: the last one ends the chain of the
 * bucket that begins last.
 */
static uint64_t gnu_hash_symbols(const struct vdso_image *image, uint64_t table)
{
	uint32_t head[4]; /* buckets, first symbol hashed, words of bloom filter, shift */
	uint64_t buckets, chains, last = 0;
	uint32_t word;

	if (!image_get(image, table, head, sizeof(head)))
		return 0;
	buckets = table + sizeof(head) + head[2] * sizeof(uint64_t);
	chains = buckets + head[0] * sizeof(word);
	for (uint64_t i = 0; i < head[0]; i++) {
		if (!image_get_u32(image, buckets, i, &word))
			return 0;
		if (word > last)
			last = word;
	}
	if (last < head[1])
		return head[1];
	do {
		if (!image_get_u32(image, chains, last - head[1], &word))
			return 0;
		last++;
	} while (!(word & 1));
	return last;
}

/*
 * The hash tables are asked for the number of symbols alone: there are some fifteen, looked through
 * once in a process.
 */
static uint64_t count_symbols(const struct vdso_image *image, const struct vdso_tables *tables)
{
	uint64_t count = 0;
	uint32_t chains;

	if (tables->hash && image_get_u32(image, tables->hash, 1, &chains))
		count = chains;
	else if (tables->gnu_hash)
		count = gnu_hash_symbols(image, tables->gnu_hash);
	return count < VDSO_SYMBOLS_MAX ? count : VDSO_SYMBOLS_MAX;
}

static bool symbol_is(const struct vdso_image *image, const struct vdso_tables *tables,
		      const Elf64_Sym *symbol)
{
	unsigned int bind = ELF64_ST_BIND(symbol->st_info);
	char name[sizeof(VDSO_NAME)];

	return ELF64_ST_TYPE(symbol->st_info) == STT_FUNC &&
	       (bind == STB_GLOBAL || bind == STB_WEAK) && symbol->st_shndx != SHN_UNDEF &&
	       symbol->st_value - image->first < image->bytes &&
	       image_get(image, tables->strings + symbol->st_name, name, sizeof(name)) &&
	       memcmp(name, VDSO_NAME, sizeof(name)) == 0;
}

/* The function in the vDSO, or NULL. */
static void *find(void)
{
	/* The kernel's word for where it is; there is no other way from a number to a pointer. */
	const void *base = (const void *)getauxval(AT_SYSINFO_EHDR);
	struct vdso_tables tables;
	struct vdso_image image;
	Elf64_Phdr dynamic;
	Elf64_Sym symbol;
	uint64_t count;

	if (!base || !image_open(&image, base, &dynamic))
		return NULL;
	image_tables(&image, &dynamic, &tables);
	if (!tables.symbols || !tables.strings)
		return NULL;
	count = count_symbols(&image, &tables);
	for (uint64_t i = 0; i < count; i++) {
		if (!image_get(&image, tables.symbols + i * sizeof(symbol), &symbol,
			       sizeof(symbol)))
			return NULL;
		if (symbol_is(&image, &tables, &symbol))
			return (void *)((uintptr_t)base + (symbol.st_value - image.first));
	}
	return NULL;
}

static ssize_t call(void *function, void *buf, size_t len, unsigned int flags, void *state,
		    size_t state_bytes)
{
	vdso_getrandom_fn *getrandom_fn;

	memcpy(&getrandom_fn, &function, sizeof(getrandom_fn));
	return getrandom_fn(buf, len, flags, state, state_bytes);
}

/* What the state holds after a call; the kernel may drop its page at any time. */
static uint64_t state_u64(const struct vdso *vdso, size_t at)
{
	const uint8_t *state = vdso->state;

	return __atomic_load_n((const uint64_t *)(const void *)(state + at), __ATOMIC_RELAXED);
}

static uint8_t state_u8(const struct vdso *vdso, size_t at)
{
	const uint8_t *state = vdso->state;

	return __atomic_load_n(state + at, __ATOMIC_RELAXED);
}

/*
 * One byte from the vDSO, which is not wanted: it compares the state's generation with the
 * kernel's on the way. GRND_NONBLOCK matters only until the kernel's generator is ready, when every
 * call is a system call; the refill of the key takes flags 0 whatever is said here.
 */
static int touch(const struct vdso *vdso)
{
	volatile uint8_t byte = 0;
	ssize_t n = call(vdso->call, (void *)(uintptr_t)&byte, 1, GRND_NONBLOCK, vdso->state,
			 VDSO_STATE_BYTES);

	byte = 0;
	if (n != 1)
		return n < 0 ? (int)n : -EPROTO;
	return 0;
}

/*
 * What the caller loads next must be loaded after what the vDSO loaded from the kernel's page,
 * which it does without order. ThreadSanitizer knows no fences, and this one concerns no thread of
 * ours.
 */
static void after_loads(void)
{
#ifndef __SANITIZE_THREAD__
	__atomic_thread_fence(__ATOMIC_ACQUIRE);
#endif
}

uint64_t vdso_generation(struct vdso *vdso)
{
	uint64_t generation;

	if (!vdso->call)
		return 0;
	for (int i = 0; i < VDSO_TRIES; i++) {
		if (touch(vdso) < 0)
			return 0;
		generation = state_u64(vdso, VDSO_STATE_GENERATION);
		/* With a call under way below this one the state was passed over: it may be old. */
		if (state_u8(vdso, VDSO_STATE_IN_USE) != 0)
			return 0;
		if (generation != 0) {
			after_loads();
			return generation;
		}
	}
	return 0;
}

/*
 * Is the state what it is taken for? The generation is not 0 and does not go back, and the byte
 * next to it counts what was used of the batch.
 */
static int try_out(struct vdso *vdso)
{
	uint64_t last = 0, generation;
	int err = touch(vdso);

	if (err)
		return err;
	for (int i = 0; i < VDSO_TRIAL_CALLS; i++) {
		generation = vdso_generation(vdso);
		if (generation == 0 || generation < last ||
		    state_u8(vdso, VDSO_STATE_POS) > VDSO_BATCH_BYTES)
			return -EPROTO;
		last = generation;
	}
	return 0;
}

static int map_state(struct vdso *vdso, const struct vdso_params *params)
{
	size_t bytes = (size_t)sysconf(_SC_PAGESIZE);
	void *page = mmap(NULL, bytes, (int)params->mmap_prot, (int)params->mmap_flags, -1, 0);

	if (page == MAP_FAILED)
		return errno == ENOMEM ? -ENOMEM : -ENOSYS;
	vdso->state = page;
	vdso->map_bytes = bytes;
	return 0;
}

int vdso_init(struct vdso *vdso)
{
	struct vdso_params params = {0};
	struct vdso made = {.call = find()};
	int err;

	memset(vdso, 0, sizeof(*vdso));
	if (!made.call || call(made.call, NULL, 0, 0, &params, ~(size_t)0) != 0)
		err = -ENOSYS;
	else if (params.state_bytes != VDSO_STATE_BYTES)
		err = -EPROTO;
	else
		err = map_state(&made, &params);
	if (!err)
		err = try_out(&made);
	if (err) {
		vdso_deinit(&made);
		return err;
	}
	/* The call last: a child forked by another thread in between finds all of it or nothing. */
	vdso->state = made.state;
	vdso->map_bytes = made.map_bytes;
	__atomic_store_n(&vdso->call, made.call, __ATOMIC_RELEASE);
	return 0;
}

#else

int vdso_init(struct vdso *vdso)
{
	memset(vdso, 0, sizeof(*vdso));
	return -ENOSYS;
}

uint64_t vdso_generation(struct vdso *vdso)
{
	(void)vdso;
	return 0;
}

#endif

void vdso_deinit(struct vdso *vdso)
{
	if (vdso->state)
		munmap(vdso->state, vdso->map_bytes);
	memset(vdso, 0, sizeof(*vdso));
}
