# draws.awk - what siblings drew from generators of their own (drawer.c). A part of analyse.awk, which calls draw_find()
# and, for what is wrong, draw_judge(); `acts` is the rule, as in scenarios: local, local-kernel or
# local-same.
#
# A draw after the notice is one before which the program itself could see that the page had moved.

BEGIN { split("handle u64 getrandom", drawer_name, " ") }

$1 == "X" {
	drawn[siblings, ++drawn_count[siblings]] = $2 " " $3 " " $4 " " $5 " " ($6 != 0 ? "-" : $7)
	next
}

$1 == "Y" { epoch_at_start[$2] = $3; next }

# Draws are made two at a time, with a letter before and one after.
function draw_phase(client, number,    burst) {
	burst = int(number / 2)
	if (burst < done[substr("LMN", client + 1, 1)])
		return "before"
	return burst < done[substr("lmn", client + 1, 1)] ? "flight" : "after"
}

function note_draw(client, told, at) {
	draw_repeats++
	client_repeats[client]++
	# One that waited for the daemon in vain takes the kernel's bytes for a second.
	if (told && acts == "local-kernel" && client == 2)
		kernel_draw_repeats++
	else if (told)
		draw_late_repeats++
	if (client != 2 && at - resume > draw_until)
		draw_until = at - resume
}

# What was drawn before the snapshot is the same in all: once is enough.
function draw_find(    s, i, field, where, told, at, owner) {
	if (acts !~ /^local/)
		return
	for (s = 1; s <= siblings; s++)
		for (i = 1; i <= drawn_count[s]; i++) {
			split(drawn[s, i], field, " ")
			where = draw_phase(field[1], field[2])
			if (where == "before" && s == 1)
				draw_owner[field[5]] = "0 0 0"
			if (where != "after")
				continue
			at = field[3] + 0
			told = field[4] != epoch_at_start[field[1]]
			if (field[5] == "-") {
				draw_errors++
				continue
			}
			local_draws++
			if (told) {
				told_draws[s, field[1]]++
				if (told_first[s] == 0 || at < told_first[s])
					told_first[s] = at
			} else
				window_draws++
			if (field[5] in draw_owner) {
				note_draw(field[1], told, at)
				split(draw_owner[field[5]], owner, " ")
				if (owner[1]) # the first that drew it: told, perhaps
					note_draw(field[1], owner[2], owner[3] + 0)
				draw_owner[field[5]] = "0 0 0"
			} else
				draw_owner[field[5]] = s " " told + 0 " " at
		}
	for (s = 1; s <= siblings; s++)
		if (told_first[s])
			worst("told", s, told_first[s] - resume)
}

function draw_judge(    s, client, why) {
	if (acts !~ /^local/)
		return ""
	for (s = 1; s <= siblings; s++)
		for (client = 0; client < 3; client++)
			if (acts != "local-same" && told_draws[s, client] < 200)
				why = why "; sibling " s ", " drawer_name[client + 1] ": " told_draws[s, client] + 0 \
					" draws after the notice"
	if (draw_late_repeats)
		why = why "; " draw_late_repeats " draws after the notice came twice"
	if (acts == "local-same")
		for (client = 0; client < 3; client++)
			if (!client_repeats[client])
				why = why "; these siblings must draw the same by " drawer_name[client + 1] ", or a fault would go unseen"
	return why
}

function draw_line() {
	if (acts !~ /^local/)
		return ""
	return "local draws since the resume " local_draws + 0 ", told at " range("told") ", before it was " window_draws + 0 \
		"; not of one alone: handle " client_repeats[0] + 0 ", u64 " client_repeats[1] + 0 \
		(draw_until ? " until " ms(draw_until) : "") ", getrandom " client_repeats[2] + 0 "; after the notice " \
		draw_late_repeats + 0 (kernel_draw_repeats ? ", and " kernel_draw_repeats " of the kernel" : "") \
		"; errors " draw_errors + 0
}
