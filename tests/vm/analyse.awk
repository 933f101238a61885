# analyse.awk - compares what siblings of one snapshot noted (see guest.c). Give the files of the siblings.
# -v bytes=RULE -v page=RULE -v acts=RULE as in scenarios; prints "name=value" lines, the last ones "verdict=ok" or
# "verdict=WHY". acts.awk and draws.awk are parts of it, to be given after it.
#
# -v tally="COUNT LETTER ..." says how far each client had come at the snapshot, see guest.c: what was begun and what
# was over by then needs no clock to tell.

function ms(ns) { return sprintf("%.1f", ns / 1e6) }

function worst(name, sibling, value) {
	if (!(name in low) || value < low[name])
		low[name] = value
	if (!(name in high) || value > high[name])
		high[name] = value
	figures[name]++
}

function range(name) {
	if (!(name in low))
		return "-"
	if (figures[name] < siblings)
		return ms(low[name]) ".." ms(high[name]) " (" figures[name] " of " siblings ")"
	return ms(low[name]) ".." ms(high[name])
}

BEGIN {
	split("vmgenid kmsg vmclock disruption source host start", notifier_name, " ")
	for (i = split(tally, field, " "); i > 1; i -= 2)
		done[field[i]] = field[i - 1] + 0
}

FNR == 1 {
	siblings++
}

$1 == "T" {
	draws[siblings, ++draw_count[siblings]] = $2 " " $3
	next
}

$1 == "E" { page_line[siblings, ++page_count[siblings]] = $2 " " $3 " " $4 " " $5; next }
$1 == "G" { guid_line[siblings, ++guid_count[siblings]] = $2 " " $3; next }
$1 == "N" { kernel_line[siblings, ++kernel_count[siblings]] = $2; next }
$1 == "M" { mark[siblings, $3] = $2; next }
$1 == "D" { dropped += $3; next }
$1 == "C" { kernel_trouble[siblings] = kernel_trouble[siblings] $0; next }
$1 == "S" {
	split(substr($0, 3), pair, "=")
	status[siblings, pair[1]] = pair[2]
	next
}

$1 == "F" {
	request = $2 " " $3
	key = siblings " " request
	if (!(key in begun)) {
		begun[key] = $4
		ended[key] = $5
		when[key] = phase($2, $3)
		order[++order_count] = key
		if ($6 != 0)
			errors[key] = $6
	}
	if ($7 != "")
		parts[key, ++part_count[key]] = $7
	next
}

# Whether a request was over at the snapshot, begun but not over, or begun after the resume.
function phase(client, number) {
	if (number < done[substr("ABCDEFGH", client + 1, 1)])
		return "before"
	return number < done[substr("abcdefgh", client + 1, 1)] ? "flight" : "after"
}

# The time of the snapshot: the latest moment noted before it. What was noted before is the same in all siblings,
# or they are not siblings.
function find_resume(    i, s, key, field, first) {
	for (s = 1; s <= siblings; s++) {
		split(draws[s, done["t"]], field, " ")
		if (field[1] + 0 > resume)
			resume = field[1] + 0
	}
	for (i = 1; i <= order_count; i++) {
		key = order[i]
		if (when[key] != "before")
			continue
		before++
		split(key, field, " ")
		first = 1 " " field[2] " " field[3]
		if (begun[key] != begun[first] || ended[key] != ended[first])
			strangers++
		if (ended[key] + 0 > resume)
			resume = ended[key] + 0
	}
}

# "a x2, b x1" of one word for each sibling.
function roll(words,    s, word, count, text) {
	for (s = 1; s <= siblings; s++)
		count[s in words && words[s] != "" ? words[s] : "-"]++
	for (word in count)
		text = text (text == "" ? "" : ", ") word " x" count[word]
	return text
}

# The first entry of a list after the resume that is not what was there before; 0 if there is none.
function first_change(list, count, sibling,    i, field) {
	for (i = 1; i <= count[sibling]; i++) {
		split(list[sibling, i], field, " ")
		if (field[1] + 0 > resume)
			return field[1] + 0
	}
	return 0
}

function find_page_change(sibling,    i, field, word, seen) {
	for (i = 1; i <= page_count[sibling]; i++) {
		split(page_line[sibling, i], field, " ")
		if (field[1] + 0 > resume && seen && field[2] != word) {
			noticed[sibling] = substr(field[2], 1, 2) + 0
			return field[1] + 0
		}
		word = field[2]
		seen = 1
	}
	return 0
}

function find_notices(    s) {
	for (s = 1; s <= siblings; s++) {
		page_at[s] = find_page_change(s)
		kernel_at[s] = first_change(kernel_line, kernel_count, s)
		guid_at[s] = first_change(guid_line, guid_count, s)
		if (page_at[s]) {
			worst("page", s, page_at[s] - resume)
			moved++
		}
		if (kernel_at[s])
			worst("kernel", s, kernel_at[s] - resume)
		if (guid_at[s])
			worst("guid", s, guid_at[s] - resume)
		if (kernel_at[s] && page_at[s])
			worst("kernel_to_page", s, page_at[s] - kernel_at[s])
		# From here on a sibling knows what it is, as far as the rule goes.
		safe_at[s] = bytes == "after-bump" ? mark[s, "bump-done"] + 0 : page_at[s]
	}
}

# How long the kernel's own generator went on alike: the n-th draw of one sibling is that of another.
function compare_kernel(    s, i, n, field, seen) {
	for (s = 1; s <= siblings; s++) {
		for (i = 1; i <= draw_count[s]; i++) {
			split(draws[s, i], field, " ")
			if (i <= done["t"])
				continue
			if (!(field[2] in seen)) {
				seen[field[2]] = field[1] + 0
				continue
			}
			kernel_repeats++
			if (field[1] - resume > kernel_until)
				kernel_until = field[1] - resume
		}
	}
}

function note_repeat(key, other,    field, at) {
	repeats++
	split(key, field, " ")
	at = begun[key] + 0
	if (safe_at[field[1]] && at > safe_at[field[1]])
		late_repeats++
	if (at - resume > repeats_until)
		repeats_until = at - resume
	split(other, field, " ")
	at = begun[other] + 0
	if (safe_at[field[1]] && at > safe_at[field[1]])
		late_repeats++
}

# What all of them were given before the snapshot must not come again either. One sibling's notes hold it all.
function learn_before(    i, j, p, key, field) {
	for (i = 1; i <= order_count; i++) {
		key = order[i]
		split(key, field, " ")
		if (field[1] != 1 || when[key] != "before")
			continue
		for (p = 1; p <= part_count[key]; p++)
			for (j = 1; j < length(parts[key, p]); j += 32)
				seen[substr(parts[key, p], j, 32)] = key
	}
}

function compare_requests(    i, j, p, key, field, block, text, after) {
	for (i = 1; i <= order_count; i++) {
		key = order[i]
		if (when[key] == "before")
			continue
		split(key, field, " ")
		after = when[key] == "after"
		if (key in errors) {
			after ? errors_after++ : errors_flight++
			continue
		}
		if (after)
			requests[field[1]]++
		else
			in_flight++
		for (p = 1; p <= part_count[key]; p++) {
			text = parts[key, p]
			for (j = 1; j < length(text); j += 32) {
				block = substr(text, j, 32)
				if (!after) {
					flight_blocks++
					if (block in flight_seen || block in seen)
						flight_repeats++
					flight_seen[block] = 1
					continue
				}
				blocks++
				if (block in seen)
					note_repeat(key, seen[block])
				else
					seen[block] = key
			}
		}
	}
	# One in flight that another sibling got again afterwards.
	for (block in flight_seen)
		if (block in seen && when[seen[block]] == "after")
			flight_again++
}

function judge(    s, why) {
	for (s = 1; s <= siblings; s++) {
		if (requests[s] < 20)
			why = why "; sibling " s " was served " requests[s] + 0 " times after the resume"
		if (kernel_trouble[s] ~ /[Oo]ops|BUG|segfault/)
			why = why "; sibling " s ": " kernel_trouble[s]
	}
	if (siblings < 2 || !resume || !before)
		why = why "; nothing was noted before the snapshot"
	if (strangers)
		why = why "; " strangers " requests before the snapshot are not the same in all"
	if (dropped)
		why = why "; " dropped " records had no room"
	if (bytes == "unique" && repeats)
		why = why "; " repeats " of " blocks " blocks were given out twice, until " ms(repeats_until) " ms"
	if ((bytes == "after-page" || bytes == "after-bump") && late_repeats)
		why = why "; " late_repeats " blocks of siblings that knew were given out twice"
	if (bytes == "after-bump")
		for (s = 1; s <= siblings; s++)
			if (!((s, "bump-done") in mark))
				why = why "; sibling " s " refused the bump"
	if (bytes == "repeat" && !repeats)
		why = why "; these siblings must repeat each other, or a fault would go unseen"
	if (page == "moves" && moved < siblings)
		why = why "; the page moved in " moved + 0 " of " siblings " siblings" (page_count[1] ? "" : " (there is none)")
	if (page == "still" && moved)
		why = why "; the page moved in " moved " siblings that were told nothing"
	why = why act_judge() draw_judge()
	return why == "" ? "ok" : substr(why, 3)
}

END {
	find_resume()
	find_notices()
	compare_kernel()
	learn_before()
	compare_requests()
	act_find()
	draw_find()
	for (s = 1; s <= siblings; s++) {
		total += requests[s]
		reason[s] = status[s, "reseed.last_reason"]
		gsub(/"/, "", reason[s])
		if (s in noticed)
			noticed[s] = notifier_name[noticed[s]]
	}
	print "siblings=" siblings
	print "before=" before / (siblings ? siblings : 1)
	print "in_flight=" in_flight + 0
	print "in_flight_repeats=" flight_repeats + flight_again
	print "requests=" total + 0
	print "blocks=" blocks + 0
	print "errors=" errors_after + 0
	print "repeats=" repeats + 0
	print "repeats_until_ms=" (repeats ? ms(repeats_until) : "-")
	print "late_repeats=" late_repeats + 0
	print "kernel_repeats_until_ms=" (kernel_repeats ? ms(kernel_until) : "-")
	print "guid_ms=" range("guid")
	print "kernel_ms=" range("kernel")
	print "page_ms=" range("page")
	print "kernel_to_page_ms=" range("kernel_to_page")
	print "noticed_by=" roll(noticed)
	print "last_reseed=" roll(reason)
	print "acts=" act_line() draw_line()
	print "verdict=" judge()
}
