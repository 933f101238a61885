/*
 * daemon/list - a list whose links lie inside what is listed: nothing is allocated, so nothing can
 * fail, and an entry is taken out in constant time from wherever it is.
 *
 * The head is a link itself. A link that is in no list points at itself.
 */
#ifndef DAEMON_LIST_H
#define DAEMON_LIST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct list_link {
	struct list_link *prev, *next;
};

/* The struct whose member the link is. */
#define LIST_OF(link_, type_, member_) ((type_ *)((uintptr_t)(link_)-offsetof(type_, member_)))

static inline void list_init(struct list_link *link)
{
	link->prev = link;
	link->next = link;
}

static inline bool list_empty(const struct list_link *head)
{
	return head->next == head;
}

/* Out of whatever list it is in, if any. */
static inline void list_remove(struct list_link *link)
{
	link->prev->next = link->next;
	link->next->prev = link->prev;
	list_init(link);
}

/* Out of whatever list it is in, and to the end of this one. */
static inline void list_append(struct list_link *head, struct list_link *link)
{
	list_remove(link);
	link->prev = head->prev;
	link->next = head;
	head->prev->next = link;
	head->prev = link;
}

/* All that is listed in from, to the end of this list; from is empty then. */
static inline void list_splice(struct list_link *head, struct list_link *from)
{
	if (list_empty(from))
		return;
	from->next->prev = head->prev;
	head->prev->next = from->next;
	from->prev->next = head;
	head->prev = from->prev;
	list_init(from);
}

#endif
