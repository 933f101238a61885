/*
 * client/show - a status for people: the fields that are known here in lines that a person wants to
 * read, in that order, and every other one under "Other".
 */
#ifndef CLIENT_SHOW_H
#define CLIENT_SHOW_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "client/fields.h"

/*
 * Writes to out; whether that worked is for the caller to ask. Sets `shown` of the fields. A field
 * that is not known, or not of the type it is known by, loses nothing but its place: a newer
 * daemon may say more than is known here.
 */
void show_status(FILE *out, bool colour, struct field *fields, size_t count);

#endif
