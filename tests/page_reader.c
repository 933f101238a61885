/*
 * page_reader - a program that knows the epoch page and nothing else of rngd. Owns: its mapping.
 * May touch: the page's file, reading. Never does: forgive a word that went back, or a record that
 * is not whole.
 *
 *	page_reader show PAGE	prints what is on it, name=value
 *	page_reader watch PAGE	reads without a pause until its standard input ends
 *	page_reader word PAGE	the same, but knows only "a u32 at offset 0"
 *
 * watch and word print "ready" when they have begun, and one line at the end. watch exits 1, at
 * once, when it saw what must not be.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "proto/epoch_page.h"

/* Between two looks at standard input. */
#define READER_SPINS 1000

struct reader {
	const struct epoch_page *page;
	uint32_t base;
	uint64_t first_generation, first_look_again;
	uint64_t generation, look_again, word_generation;
	struct epoch_page_event event; /* the last one seen; generation 0: none yet */
	uint64_t reads, events, unread;
};

static const struct epoch_page *map_page(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;
	void *page;

	if (fd < 0 || fstat(fd, &st) < 0) {
		fprintf(stderr, "page_reader: %s: %s\n", path, strerror(errno));
		exit(1);
	}
	if (st.st_size != (off_t)EPOCH_PAGE_BYTES) {
		fprintf(stderr, "page_reader: %s has %lld bytes\n", path, (long long)st.st_size);
		exit(1);
	}
	page = mmap(NULL, EPOCH_PAGE_BYTES, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (page == MAP_FAILED) {
		fprintf(stderr, "page_reader: mmap: %s\n", strerror(errno));
		exit(1);
	}
	return page;
}

static uint64_t boottime_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_BOOTTIME, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static int input_ended(void)
{
	struct pollfd in = {.fd = STDIN_FILENO, .events = POLLIN};
	char line[64];

	return poll(&in, 1, 0) > 0 && read(STDIN_FILENO, line, sizeof(line)) <= 0;
}

static void expect(const struct reader *reader, int held, const char *what, uint64_t a, uint64_t b)
{
	if (held)
		return;
	fprintf(stderr,
		"page_reader: %s: %" PRIu64 ", %" PRIu64 " (generation %" PRIu64
		", look again %" PRIu64 ", read %" PRIu64 ")\n",
		what, a, b, reader->generation, reader->look_again, reader->reads);
	exit(1);
}

static int is_zero(const uint8_t *bytes, size_t len)
{
	uint8_t any = 0;

	for (size_t i = 0; i < len; i++)
		any |= bytes[i];
	return any == 0;
}

/* The generation that a word's counter stands for, next to one that is known. */
static uint64_t generation_of(const struct reader *reader, uint32_t word, uint64_t near)
{
	uint32_t counter = (word - reader->base - (uint32_t)near) & EPOCH_PAGE_COUNTER_MASK;

	return counter <= EPOCH_PAGE_COUNTER_MASK / 2
		   ? near + counter
		   : near - (EPOCH_PAGE_COUNTER_MASK + 1 - counter);
}

static void check_event(struct reader *reader, uint64_t at_least)
{
	struct epoch_page_event event;

	if (at_least <= 1)
		return;
	if (!epoch_page_last_event(reader->page, &event)) {
		reader->unread++;
		return;
	}
	expect(reader, event.generation >= at_least, "an event is older than the generation",
	       event.generation, at_least);
	expect(reader, event.notifier >= EPOCH_PAGE_VMGENID && event.notifier <= EPOCH_PAGE_START,
	       "an event by nobody", event.generation, event.notifier);
	expect(reader, !is_zero(event.id, sizeof(event.id)), "an event without an id",
	       event.generation, 0);
	if (event.generation == reader->event.generation) {
		expect(reader, memcmp(&event, &reader->event, sizeof(event)) == 0,
		       "an event changed", event.generation, reader->event.generation);
		return;
	}
	expect(reader, memcmp(event.id, reader->event.id, sizeof(event.id)) != 0,
	       "two events have one id", event.generation, reader->event.generation);
	expect(reader,
	       event.boottime_ns > 0 && event.boottime_ns >= reader->event.boottime_ns &&
		   event.boottime_ns <= boottime_ns(),
	       "an event's time", event.boottime_ns, reader->event.boottime_ns);
	reader->event = event;
	reader->events++;
}

/*
 * The writer publishes the record, the generation, look again, the word, in this order; so whoever
 * reads generation, look again, word, generation knows what each can be at most and at least. The
 * word may be one event behind, for as long as a killed writer is not back.
 */
static void check_once(struct reader *reader)
{
	const struct epoch_page *page = reader->page;
	uint64_t generation = epoch_page_generation(page);
	uint64_t look_again = epoch_page_look_again(page);
	uint32_t word = epoch_page_epoch(page);
	uint64_t later = epoch_page_generation(page);
	uint64_t word_generation = generation_of(reader, word, generation);

	reader->reads++;
	expect(reader, generation >= reader->generation, "the generation went back", generation,
	       reader->generation);
	expect(reader, later >= generation, "the generation went back", later, generation);
	expect(reader, look_again >= reader->look_again, "look again went back", look_again,
	       reader->look_again);
	expect(reader, look_again + 1 >= generation, "look again missed a clone", look_again,
	       generation);
	expect(reader, word_generation + 1 >= generation && word_generation <= later,
	       "the word does not agree with the generation", word_generation, generation);
	expect(reader, word_generation >= reader->word_generation, "the word went back",
	       word_generation, reader->word_generation);
	expect(reader, epoch_page_valid(page) && page->counter_base == reader->base,
	       "the page was made anew", page->counter_base, reader->base);
	expect(reader, epoch_page_state(page) <= EPOCH_PAGE_REFUSING, "a state unheard of",
	       epoch_page_state(page), 0);
	reader->generation = later;
	reader->look_again = look_again;
	reader->word_generation = word_generation;
	check_event(reader, later);
	if (reader->event.generation == word_generation)
		expect(reader, word >> 24 == reader->event.notifier,
		       "the word's notifier is not the event's", word >> 24,
		       reader->event.notifier);
}

static int watch(const char *path)
{
	struct reader reader = {.page = map_page(path)};

	reader.base = reader.page->counter_base;
	expect(&reader, epoch_page_valid(reader.page), "no epoch page", 0, 0);
	check_once(&reader);
	reader.first_generation = reader.generation;
	reader.first_look_again = reader.look_again;
	puts("ready");
	fflush(stdout);
	while (!input_ended())
		for (int i = 0; i < READER_SPINS; i++)
			check_once(&reader);
	/* Nobody writes any more, or only now and then: now all must agree. */
	check_once(&reader);
	expect(&reader, reader.word_generation == reader.generation,
	       "at the end the word is not the generation's", reader.word_generation,
	       reader.generation);
	expect(&reader, reader.generation <= 1 || reader.event.generation == reader.generation,
	       "at the end there is no event", reader.event.generation, reader.generation);
	printf("generation %" PRIu64 " to %" PRIu64 ", look again %" PRIu64 " to %" PRIu64
	       ", %" PRIu64 " reads, %" PRIu64 " events whole, %" PRIu64 " times none\n",
	       reader.first_generation, reader.generation, reader.first_look_again,
	       reader.look_again, reader.reads, reader.events, reader.unread);
	return 0;
}

static int show(const char *path)
{
	const struct epoch_page *page = map_page(path);
	uint64_t lease_ns = epoch_page_lease_ns(page), now_ns = boottime_ns();
	struct epoch_page_event event;
	uint32_t word = epoch_page_epoch(page);

	epoch_page_last_event(page, &event);
	printf("word=%" PRIu32 "\nword_notifier=%" PRIu32 "\n", word, word >> 24);
	printf("version=%" PRIu32 "\nvalid=%d\n", page->version, epoch_page_valid(page));
	printf("generation=%" PRIu64 "\n", epoch_page_generation(page));
	printf("look_again=%" PRIu64 "\n", epoch_page_look_again(page));
	printf("lease_ns=%" PRIu64 "\n", lease_ns);
	printf("lease_left_ms=%" PRId64 "\n", (int64_t)(lease_ns - now_ns) / 1000000);
	printf("state=%" PRIu32 "\n", epoch_page_state(page));
	printf("agrees=%d\n", word == epoch_page_word(word >> 24, page->counter_base,
						      epoch_page_generation(page)));
	printf("event_generation=%" PRIu64 "\nevent_notifier=%" PRIu32 "\n", event.generation,
	       event.notifier);
	printf("event_age_ms=%" PRIu64 "\nevent_id=", (now_ns - event.boottime_ns) / 1000000);
	for (size_t i = 0; i < sizeof(event.id); i++)
		printf("%02x", event.id[i]);
	putchar('\n');
	return 0;
}

/* All that the oldest and simplest user of such a page does. */
static int word(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	const uint32_t *at = mmap(NULL, sizeof(*at), PROT_READ, MAP_SHARED, fd, 0);
	uint32_t last, now;
	unsigned long changes = 0;
	int ended;

	if (at == MAP_FAILED) {
		fprintf(stderr, "page_reader: %s: %s\n", path, strerror(errno));
		return 1;
	}
	last = __atomic_load_n(at, __ATOMIC_ACQUIRE);
	puts("ready");
	fflush(stdout);
	do {
		ended = input_ended(); /* and one look more */
		now = __atomic_load_n(at, __ATOMIC_ACQUIRE);
		changes += now != last;
		last = now;
		poll(NULL, 0, 1);
	} while (!ended);
	printf("changes %lu\n", changes);
	return 0;
}

int main(int argc, char **argv)
{
	if (argc == 3 && strcmp(argv[1], "show") == 0)
		return show(argv[2]);
	if (argc == 3 && strcmp(argv[1], "watch") == 0)
		return watch(argv[2]);
	if (argc == 3 && strcmp(argv[1], "word") == 0)
		return word(argv[2]);
	fputs("usage: page_reader show|watch|word PAGE\n", stderr);
	return 2;
}
