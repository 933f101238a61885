/*
 * layout - struct rngclient_event as the C compiler lays it out: a line "name offset size" for each
 * member, and for the whole.
 */
#include <rngclient.h>

#include <stddef.h>
#include <stdio.h>

#define MEMBER(member)                                                            \
	printf("%s %zu %zu\n", #member, offsetof(struct rngclient_event, member), \
	       sizeof(((struct rngclient_event *)NULL)->member))

int main(void)
{
	MEMBER(size);
	MEMBER(generation);
	MEMBER(realtime_ns);
	MEMBER(boottime_ns);
	MEMBER(notifier);
	MEMBER(notifier_name);
	MEMBER(id);
	printf("all 0 %zu\n", sizeof(struct rngclient_event));
	return 0;
}
