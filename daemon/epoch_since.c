/*
 * Owns: nothing. May touch: what an earlier daemon's detectors saved on the page.
 * Never does: claim a clone where nothing was ever there to see one.
 */
#include "daemon/epoch_since.h"

#include "daemon/clock.h"
#include "daemon/epoch_file.h"

/*
 * Was there a clone since an earlier daemon left this page? Every detector that saved something
 * must say no. A kernel log that lost records is excused where an identifier was compared. Without
 * any detector, then and now, nothing is known and nothing is claimed.
 */
uint32_t epoch_since(struct epoch *epoch)
{
	bool compared = false, doubt = false, log_lost = false, any = false;

	for (int row = 0; row < EPOCH_ROWS; row++) {
		struct epoch_detector *detector = &epoch->detectors[row];
		const struct epoch_page_saved *saved;
		enum epoch_recall recall = EPOCH_RECALL_UNKNOWN;

		if (!detector->ops->recall)
			continue;
		saved = epoch_file_saved(epoch->file, detector->ops->notifier);
		any |= saved->bytes > 0 || detector->state == EPOCH_ACTIVE;
		if (saved->bytes == 0)
			continue;
		if (detector->state == EPOCH_ACTIVE)
			recall = detector->ops->recall(detector, saved);
		if (recall == EPOCH_RECALL_CLONED)
			return detector->ops->notifier;
		if (recall == EPOCH_RECALL_UNKNOWN && row == EPOCH_ROW_KMSG)
			log_lost = true;
		else if (recall == EPOCH_RECALL_UNKNOWN)
			doubt = true;
		else
			compared |= row != EPOCH_ROW_KMSG || !epoch_others_tell(epoch);
	}
	if (any && (doubt || !compared || (log_lost && !epoch_others_tell(epoch))))
		return EPOCH_PAGE_START;
	return EPOCH_PAGE_NOBODY;
}

/* Its absence was judged now; what it saw once is no measure for a later start. */
void epoch_since_done(struct epoch *epoch)
{
	static const struct epoch_page_saved nothing;

	for (size_t i = 0; i < EPOCH_ROWS; i++)
		if (epoch->detectors[i].state != EPOCH_ACTIVE)
			epoch_file_save(epoch->file, &nothing, epoch->detectors[i].ops->notifier);
}

/* A clone just before this start, or found at it, is followed like any other: a restart changes
 * nothing. */
void epoch_since_follow(struct epoch *epoch)
{
	struct epoch_page_event last;
	int64_t age_ms;

	if (!epoch_page_last_event(epoch->file->page, &last))
		return;
	age_ms = clock_boot_age_ms(last.boottime_ns);
	if (age_ms >= EPOCH_FOLLOW_MS)
		return;
	epoch->follow_until_ms = clock_now_ms() + EPOCH_FOLLOW_MS - age_ms;
	epoch->twin = epoch_is_shared(last.notifier);
}
