# compare.jq - what moved between two runs of the benchmark, beyond the noise of both.
#
#	jq -rn -f compare.jq OLD.json NEW.json
#
# The rule: a row moved when the spreads of its two ratios (ratio_low to ratio_high) have nothing in common and the
# ratios differ by 5 % or more. Each spread holds the run's own median with 95 % confidence, so disjoint ones are
# hardly chance; but what differs between runs and not within one (where memory lies, how warm the processor is) is
# in no spread, hence the 5 %. It is the ratio that is compared, not our figure: a machine that is slower today is
# so for the peer too. Rows without a ratio are not compared.
[inputs] as [$old, $new]

# One row is the same as another by these.
| def id: [.group, .name, .size_bytes, .connections, .peer_name];
def title: [.group, .name, (.size_bytes // empty), (if .connections then "of \(.connections)" else empty end),
	"beside", .peer_name] | map(tostring) | join(" ");
def round2: . * 1000 | round / 1000;
def spread: "\(.ratio | round2) (\(.ratio_low | round2)..\(.ratio_high | round2))";
# Less is better of times, memory and shares of a processor.
def less_is_better: .unit | IN("us", "ms", "MiB", "%");

def moved($was):
	(.ratio_low > $was.ratio_high or .ratio_high < $was.ratio_low)
	and ((.ratio / $was.ratio) | . >= 1.05 or . <= 1 / 1.05);

def verdict($was):
	if less_is_better == (.ratio < $was.ratio) then "better" else "worse " end;

(["cpu", "kernel", "processors"][] | select($old.machine[.] != $new.machine[.])
	| "not the same \(.): \($old.machine[.]) and \($new.machine[.])"),
(["openssl", "libsodium", "glibc"][] | select($old.libraries[.] != $new.libraries[.])
	| "not the same \(.): \($old.libraries[.]) and \($new.libraries[.])"),
(if $old.mode != $new.mode then "not measured alike: \($old.mode) and \($new.mode)" else empty end),
(
	($old.rows | map({(id | tostring): .}) | add // {}) as $was
	| ($new.rows | map({(id | tostring): .}) | add // {}) as $is
	| [$new.rows[] | select($was[id | tostring] != null) | select(.ratio != null and $was[id | tostring].ratio != null)]
		as $both
	| [$both[] | select(moved($was[id | tostring]))] as $moved
	| ($moved[] | $was[id | tostring] as $before
		| "\(verdict($before))  \(title): \($before | spread) -> \(spread), "
			+ "\((.ratio / $before.ratio - 1) * 100 | round) %"),
	  ($old.rows[] | select($is[id | tostring] == null) | "gone    \(title)"),
	  ($new.rows[] | select($was[id | tostring] == null) | "new     \(title)"),
	  ($both[] | $was[id | tostring] as $before | select(.met != $before.met and .met != null and $before.met != null)
		| "bar \(if .met then "met now, was missed" else "missed now, was met" end): \(title)"),
	  "\($both | length) rows compared, \($moved | length) moved"
)
