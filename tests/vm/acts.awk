# acts.awk - what was done about a clone: by those who subscribed (see actor.c), and to the kernel's generator. A part
# of analyse.awk, which calls act_find() and, for what is wrong, act_judge(); `acts` is the rule, as in scenarios.
#
# Besides the lines of actor.c there are init's:
#   O generation                the daemon's before the snapshot
#   Q status generation lines   what settle said, and how many lines watch had printed by then
#   W line                      what watch printed

$1 == "O" { generation_before = $2; next }
$1 == "P" { page_generation[siblings] = $2; page_began[siblings] = $3; page_id[siblings] = $4; next }
$1 == "Q" { settle_count[siblings]++; settle_status[siblings] = $2; settle_generation[siblings] = $3; watched[siblings] = $4; next }
$1 == "V" { heard(siblings, "library", $2, $3, $4, $5); next }
$1 == "W" { heard(siblings, "watch", 0, 0, $3, $5); next }
$1 == "H" { heard(siblings, "hook", $2, $3, $4, $5); next }
$1 == "U" { uuids[siblings, ++uuid_reads[siblings]] = $2 " " $3 " " $4; next }

function heard(sibling, who, came, done_at, generation, id,    key) {
	key = sibling " " who
	heard_count[key]++
	heard_came[key] = came + 0
	heard_done[key] = done_at + 0
	heard_generation[key] = generation
	heard_id[key] = id
}

# One UUID, made at `since` at the earliest and read at `at`. What was made before the snapshot is in each sibling.
function note_uuid(sibling, uuid, at, since,    late) {
	late = page_at[sibling] && since > page_at[sibling]
	uuid_count++
	if (late)
		uuid_late[sibling]++
	if (!(uuid in uuid_seen)) {
		uuid_seen[uuid] = late + 0
		return
	}
	uuid_repeats++
	if (since > resume)
		uuid_made_repeats++
	if (late || uuid_seen[uuid])
		uuid_late_repeats++
	if (at - resume > uuid_until)
		uuid_until = at - resume
}

function compare_uuids(    s, i, j, field) {
	for (s = 1; s <= siblings; s++)
		for (i = 1; i <= uuid_reads[s]; i++) {
			split(uuids[s, i], field, " ")
			if (s > 1 && field[1] + 0 <= resume)
				continue
			for (j = 1; j < length(field[3]); j += 32)
				note_uuid(s, substr(field[3], j, 32), field[1] + 0, field[2] + 0)
		}
}

# The kernel's draws that came twice: of siblings not reseeded yet, and of a sibling that was.
function compare_marked(    s, i, field, at, late, owner, safe) {
	for (s = 1; s <= siblings; s++)
		for (i = done["t"] + 1; i <= draw_count[s]; i++) {
			split(draws[s, i], field, " ")
			at = field[1] + 0
			late = (s, "kernel-reseeded") in mark && at > mark[s, "kernel-reseeded"]
			marked_draws[s] += late
			if (!(field[2] in owner)) {
				owner[field[2]] = s
				safe[field[2]] = late
				continue
			}
			if (late || safe[field[2]])
				marked_repeats++
			else
				unmarked_repeats++
		}
}

function act_find(    s) {
	if (acts == "-")
		return
	for (s = 1; s <= siblings; s++) {
		if (heard_came[s " library"])
			worst("event", s, heard_came[s " library"] - resume)
		if (heard_done[s " library"])
			worst("acted", s, heard_done[s " library"] - resume)
		if (heard_done[s " hook"])
			worst("hook", s, heard_done[s " hook"] - resume)
		if ((s, "settle-ended") in mark)
			worst("settled", s, mark[s, "settle-ended"] - resume)
		if ((s, "kernel-reseeded") in mark)
			worst("reseeded", s, mark[s, "kernel-reseeded"] - resume)
	}
	compare_uuids()
	compare_marked()
}

function judge_once(sibling, who,    key) {
	key = sibling " " who
	if (heard_count[key] != 1)
		return "; sibling " sibling ": " who " acted " heard_count[key] + 0 " times"
	if (heard_generation[key] != page_generation[sibling])
		return "; sibling " sibling ": " who " was told of generation " heard_generation[key]
	if (heard_id[key] != page_id[sibling])
		return "; sibling " sibling ": " who " was told another id than the page's"
	if (heard_done[key] > mark[sibling, "settle-ended"] || (who == "watch" && watched[sibling] != 1))
		return "; sibling " sibling ": settled before " who " had acted"
	return ""
}

function judge_told(sibling,    why) {
	if (!page_generation[sibling] || page_generation[sibling] != generation_before + 1 ||
	    page_began[sibling] != page_generation[sibling])
		why = why "; sibling " sibling ": the page went from generation " generation_before " to " page_generation[sibling]
	if (page_id[sibling] in id_owner)
		why = why "; siblings " id_owner[page_id[sibling]] " and " sibling " have one event id"
	id_owner[page_id[sibling]] = sibling
	if (settle_count[sibling] != 1)
		why = why "; sibling " sibling ": settle was not run"
	else if (settle_status[sibling] != 0 || settle_generation[sibling] != page_generation[sibling])
		why = why "; sibling " sibling ": settle ended with status " settle_status[sibling] " " settle_generation[sibling]
	else
		why = why judge_once(sibling, "library") judge_once(sibling, "watch") judge_once(sibling, "hook")
	if (uuid_late[sibling] < 256)
		why = why "; sibling " sibling " made " uuid_late[sibling] + 0 " UUIDs after its page had moved"
	return why
}

function judge_untold(sibling,    why) {
	if (heard_count[sibling " library"] || heard_count[sibling " watch"] || heard_count[sibling " hook"])
		why = why "; sibling " sibling " was told of a clone"
	if (settle_status[sibling] != 75)
		why = why "; sibling " sibling ": settle ended with status " settle_status[sibling] ", 75 is due"
	return why
}

function judge_reseeded(sibling) {
	if (!((sibling, "kernel-reseeded") in mark))
		return "; sibling " sibling ": the kernel was not reseeded"
	if (marked_draws[sibling] < 20)
		return "; sibling " sibling ": " marked_draws[sibling] + 0 " draws from the kernel after its reseed"
	return ""
}

function act_judge(    s, why) {
	for (s = 1; s <= siblings; s++) {
		if (acts == "once")
			why = why judge_told(s)
		if (acts == "none")
			why = why judge_untold(s)
		if (acts == "reseed")
			why = why judge_reseeded(s)
	}
	if (acts == "once" && uuid_late_repeats)
		why = why "; " uuid_late_repeats " UUIDs made after the page had moved came twice"
	if (acts == "none" && !uuid_made_repeats)
		why = why "; these siblings must make the same UUIDs, or a fault would go unseen"
	if (acts == "reseed" && marked_repeats)
		why = why "; " marked_repeats " draws from a reseeded kernel came twice"
	if (acts == "reseed" && !unmarked_repeats)
		why = why "; these kernels must repeat each other until then, or a fault would go unseen"
	return why
}

# What a person reads below the row.
function act_line() {
	if (acts == "once" || acts == "none")
		return "event " range("event") "; acted " range("acted") "; hook " range("hook") "; settled " range("settled") \
			"; UUIDs " uuid_count + 0 ", twice " uuid_repeats + 0 (uuid_repeats ? " until " ms(uuid_until) : "") \
			", made since the resume " uuid_made_repeats + 0 ", since the page moved " uuid_late_repeats + 0
	if (acts == "reseed")
		return "kernel reseeded " range("reseeded") "; its draws came twice " unmarked_repeats + 0 " times before, " \
			marked_repeats + 0 " after"
	return ""
}
