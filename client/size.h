/*
 * client/size - byte counts as people write and read them. Pure: no I/O, no allocation.
 */
#ifndef CLIENT_SIZE_H
#define CLIENT_SIZE_H

#include <stddef.h>
#include <stdint.h>

/* Bytes that hold every text of size_format() and size_format_ms(), its NUL included. */
#define SIZE_TEXT_BYTES 32

/* Bytes that hold every line of size_progress(), its NUL included. */
#define SIZE_PROGRESS_BYTES 201

/*
 * Reads decimal digits and at most one suffix, as head(1) means it: K, M, G, T, P, E and
 * KiB ... EiB are powers of 1024, KB ... EB powers of 1000; k stands for K. Nothing else
 * is taken: no sign, space, fraction or trailing text. *value is left alone on failure.
 *
 *   -EINVAL  not a number of this form
 *   -ERANGE  more than 64 bits
 */
int size_parse(const char *text, uint64_t *value);

/* "512 B", "1.5 KiB", "1.0 GiB": rounded to one decimal, into SIZE_TEXT_BYTES. */
void size_format(char text[static SIZE_TEXT_BYTES], uint64_t bytes);

/* A time to two units: "250 ms", "1.5 s", "2 min 5 s", "3 h 0 min", "9 d 4 h". */
void size_format_ms(char text[static SIZE_TEXT_BYTES], uint64_t ms);

/*
 * One line on a transfer: bytes done, share, bar, rate and the time left, or once done equals
 * total the time taken. columns: the terminal's width, 0 if unknown. The line fills it but for
 * the last column, where some terminals wrap. Returns the length of the line.
 */
size_t size_progress(char line[static SIZE_PROGRESS_BYTES], unsigned columns, uint64_t done,
		     uint64_t total, int64_t elapsed_ms);

#endif
