/*
 * Owns: the mapping of the page and the state of the vDSO call. May touch: both, and the connection
 * over which the page is asked for. Never does: decide that there was a clone: the daemon does.
 */
#include "client/guard.h"

#include "client/reply.h"

int guard_prepare(struct guard *guard, const struct page_question *question)
{
	int err;

	if (guard->page_asked)
		return 0;
	/* Another page counts by itself: nothing read from the old one can be compared. */
	guard->has_agreed = false;
	guard->no_look = false;
	err = page_ask(&guard->page, question);
	/* A failure says nothing of the page that is shown: its lease does. */
	if (!err)
		shelf_show(&guard->shelf, &guard->page);
	/* Others hoard descriptors, so the kernel lets none be passed: that must not stop anybody.
	 */
	if (err == REPLY_E_AGAIN)
		err = 0;
	guard->page_asked = err == 0;
	return err;
}

int guard_prepare_bare(struct guard *guard, struct transport *link,
		       const struct page_question *question)
{
	int err = page_ask_on(&guard->page, link, question);

	if (!err)
		shelf_show(&guard->shelf, &guard->page);
	guard->page_asked = true;
	guard->vdso_tried = true; /* it is not called there, so it never had a word to miss */
	return err == REPLY_E_AGAIN ? 0 : err;
}

struct guard_token guard_read(struct guard *guard)
{
	struct guard_token token = {0};

	if (!guard->vdso_tried) {
		/* Without it the page alone is compared. */
		(void)vdso_init(&guard->vdso);
		guard->vdso_tried = true;
	}
	token.kernel = vdso_generation(&guard->vdso);
	if (guard->page.map)
		token.look_again = epoch_page_look_again(guard->page.map);
	return token;
}

bool guard_is_blind(const struct guard *guard, const struct guard_token *token)
{
	return !guard->page.map || (guard->vdso.call && token->kernel == 0);
}

bool guard_moved(const struct guard_token *a, const struct guard_token *b)
{
	return a->look_again != b->look_again || a->kernel != b->kernel;
}

bool guard_agrees(const struct guard *guard, const struct guard_token *token)
{
	return guard->has_agreed && !guard_moved(&guard->agreed, token);
}

void guard_agree(struct guard *guard, const struct guard_token *token)
{
	guard->agreed = *token;
	guard->has_agreed = true;
}

void guard_deinit(struct guard *guard)
{
	page_drop(&guard->page);
	shelf_deinit(&guard->shelf);
	vdso_deinit(&guard->vdso);
	*guard = (struct guard){0};
}
