/*
 * generator SOCKET - rngclient.hpp with the daemon at SOCKET. Ends with the number of checks, or at
 * the first that failed. generator SOCKET PID - the same generators when that daemon ends, which
 * this sees to.
 */
#include <rngclient.hpp>
#include <rngclient.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <numeric>
#include <random>
#include <thread>
#include <type_traits>
#include <vector>

#include <dirent.h>
#include <sys/wait.h>
#include <unistd.h>

#if __cplusplus >= 202002L
static_assert(std::uniform_random_bit_generator<rngd::generator>);
static_assert(std::uniform_random_bit_generator<rngd::thread_generator>);
#endif
static_assert(std::is_same_v<rngd::generator::result_type, std::uint64_t>);
static_assert(rngd::generator::min() == 0 && rngd::generator::max() == UINT64_MAX);
static_assert(!std::is_copy_constructible_v<rngd::generator>);
static_assert(!std::is_copy_assignable_v<rngd::generator>);
static_assert(std::is_nothrow_move_constructible_v<rngd::generator>);
static_assert(std::is_nothrow_move_assignable_v<rngd::generator>);
static_assert(!std::is_convertible_v<const char *, rngd::generator>);
static_assert(std::is_empty_v<rngd::thread_generator>);
static_assert(std::is_base_of_v<std::system_error, rngd::error>);

namespace
{

unsigned int checks;

#define CHECK(condition)                                                            \
	do {                                                                        \
		checks++;                                                           \
		if (!(condition)) {                                                 \
			std::printf("%s:%d: %s\n", __FILE__, __LINE__, #condition); \
			std::exit(1);                                               \
		}                                                                   \
	} while (0)

/* The errno with which call() throws rngd::error; 0: it did not. */
template <class Call> int thrown(Call call)
{
	try {
		call();
	} catch (const rngd::error &error) {
		CHECK(error.code().category() == std::generic_category());
		CHECK(std::strncmp(error.what(), "rng", 3) == 0);
		return error.code().value();
	}
	return 0;
}

/* chi-squared, against more than a bound that is passed by less than one run in 10^9. */
template <std::size_t N> bool is_even(const std::array<unsigned int, N> &counts)
{
	const double draws = std::accumulate(counts.begin(), counts.end(), 0.0);
	const double expected = draws / N, freedom = N - 1;
	double sum = 0;

	for (unsigned int count : counts)
		sum += (count - expected) * (count - expected) / expected;
	return sum < freedom + 10 * std::sqrt(2 * freedom) + 20;
}

std::size_t open_descriptors()
{
	DIR *dir = opendir("/proc/self/fd");
	std::size_t n = 0;

	CHECK(dir);
	while (readdir(dir))
		n++;
	closedir(dir);
	return n;
}

template <class Generator> void check_words(Generator &random)
{
	std::uint64_t ones = 0, zeros = 0, last = random();

	for (int i = 0; i < 1000; i++) {
		const std::uint64_t word = random();

		CHECK(word != last);
		ones |= word;
		zeros |= ~word;
		last = word;
	}
	CHECK(ones == UINT64_MAX && zeros == UINT64_MAX);
}

template <class Generator> void check_distributions(Generator &random)
{
	std::uniform_int_distribution<int> die(1, 6);
	std::uniform_real_distribution<double> real(0, 8);
	std::array<unsigned int, 6> eyes{};
	std::array<unsigned int, 8> parts{};
	std::array<unsigned int, 24> orders{};

	for (int i = 0; i < 24000; i++) {
		std::array<int, 4> cards{0, 1, 2, 3};
		std::size_t order = 0;

		eyes.at(static_cast<std::size_t>(die(random) - 1))++;
		parts.at(static_cast<std::size_t>(real(random)))++;
		std::shuffle(cards.begin(), cards.end(), random);
		for (std::size_t card = 0; card < 4; card++) /* its place among those before it */
			order = order * (4 - card) + static_cast<std::size_t>(std::count_if(
							 cards.begin() + card + 1, cards.end(),
							 [&](int c) { return c < cards[card]; }));
		orders.at(order)++;
	}
	CHECK(is_even(eyes));
	CHECK(is_even(parts));
	CHECK(is_even(orders));
}

template <class Generator> void check_below(Generator &random)
{
	std::array<unsigned int, 7> counts{};

	for (int i = 0; i < 7000; i++)
		counts.at(random.below(7))++;
	CHECK(is_even(counts));
	CHECK(random.below(1) == 0);
	for (int i = 0; i < 100; i++)
		CHECK(random.below(UINT64_MAX) < UINT64_MAX);
	CHECK(thrown([&] { (void)random.below(0); }) == EINVAL);
}

template <class Generator> void check_bytes(Generator &random)
{
	std::vector<unsigned char> one(5000), other(5000);

	random.bytes(one.data(), one.size());
	random.bytes(other.data(), other.size());
	CHECK(one != other);
	CHECK(std::count(one.begin(), one.end(), 0) < 200);
	random.bytes(nullptr, 0);
	CHECK(thrown([&] { random.bytes(nullptr, 1); }) == EINVAL);
}

template <class Generator> void check_uuid(Generator &random)
{
	const std::string one = random.uuid();

	CHECK(one.size() == 36 && one != random.uuid());
	CHECK(one[14] == '4' && std::strchr("89ab", one[19]));
	for (std::size_t i = 0; i < one.size(); i++) {
		if (i == 8 || i == 13 || i == 18 || i == 23)
			CHECK(one[i] == '-');
		else
			CHECK(std::strchr("0123456789abcdef", one[i]));
	}
}

template <class Generator> void check_all(Generator &random)
{
	check_words(random);
	check_distributions(random);
	check_below(random);
	check_bytes(random);
	check_uuid(random);
}

void check_moves(const char *socket_path)
{
	const std::size_t before = open_descriptors();
	{
		rngd::generator one(socket_path);
		const std::size_t with_one = open_descriptors();
		rngd::generator other(std::move(one));

		CHECK(thrown([&] { (void)one(); }) == EINVAL); /* NOLINT: it is what is tested */
		CHECK(thrown([&] { (void)one.below(2); }) == EINVAL);
		CHECK(thrown([&] { one.bytes(&one, 1); }) == EINVAL);
		CHECK(thrown([&] { (void)one.uuid(); }) == EINVAL);
		CHECK(other() != other());
		CHECK(open_descriptors() == with_one);
		one = rngd::generator(socket_path);
		CHECK(one() != other());
		one = std::move(other);
		CHECK(open_descriptors() == with_one);
		CHECK(one() != one());
		rngd::generator &same = one;
		one = std::move(same);
		CHECK(one() != one());
	}
	CHECK(open_descriptors() == before);
}

void check_fork(rngd::generator &random)
{
	std::uint64_t ours[2], theirs[2] = {};
	int ends[2];
	int status;

	(void)random(); /* so that there is something to share */
	CHECK(pipe(ends) == 0);
	const pid_t child = fork();
	CHECK(child >= 0);
	ours[0] = random();
	ours[1] = rngd::thread_generator{}();
	if (child == 0)
		_exit(write(ends[1], ours, sizeof(ours)) == sizeof(ours) ? 0 : 1);
	CHECK(read(ends[0], theirs, sizeof(theirs)) == sizeof(theirs));
	CHECK(waitpid(child, &status, 0) == child && status == 0);
	CHECK(ours[0] != theirs[0] && ours[1] != theirs[1]);
	close(ends[0]);
	close(ends[1]);
}

void check_threads(const char *socket_path)
{
	std::array<std::uint64_t, 4> words{};
	std::vector<std::thread> threads;

	for (std::uint64_t &word : words) {
		threads.emplace_back([&word, socket_path] {
			if (rngclient_local_open_thread(socket_path, 0, 0) == 0)
				word = rngd::thread_generator{}();
		});
	}
	for (std::thread &thread : threads)
		thread.join();
	std::sort(words.begin(), words.end());
	CHECK(words[0] != 0);
	CHECK(std::adjacent_find(words.begin(), words.end()) == words.end());
}

/* No number comes of a daemon that is gone: not from a draw, a distribution or an algorithm. */
template <class Generator> void check_refusal(Generator &random)
{
	std::vector<int> cards(100);
	std::vector<unsigned char> bytes(5000, 0xff);
	std::uniform_int_distribution<int> die(1, 6);

	std::iota(cards.begin(), cards.end(), 0);
	CHECK(thrown([&] { (void)random(); }) != 0);
	CHECK(thrown([&] { (void)random.below(10); }) != 0);
	CHECK(thrown([&] { (void)random.uuid(); }) != 0);
	CHECK(thrown([&] { (void)die(random); }) != 0);
	CHECK(thrown([&] { random.bytes(bytes.data(), bytes.size()); }) != 0);
	CHECK(std::count(bytes.begin(), bytes.end(), 0) == 5000);
	CHECK(thrown([&] { std::shuffle(cards.begin(), cards.end(), random); }) != 0);
	std::sort(cards.begin(), cards.end());
	for (int i = 0; i < 100; i++)
		CHECK(cards[static_cast<std::size_t>(i)] == i);
}

/* What was made before the daemon ended, 1 KiB at most, may still be handed out. */
template <class Generator> void check_end(Generator &random)
{
	int err = 0;

	for (int i = 0; i < 20000 && err == 0; i++) {
		usleep(1000);
		err = thrown([&] { (void)random(); });
	}
	CHECK(err == ECONNREFUSED || err == ENOENT || err == ETIMEDOUT || err == EAGAIN);
	check_refusal(random);
}

void check_daemon_gone(const char *socket_path, pid_t daemon)
{
	rngd::generator handle(socket_path, 100);
	rngd::thread_generator own;

	CHECK(rngclient_local_open_thread(socket_path, 100, 0) == 0);
	CHECK(handle() != own());
	CHECK(kill(daemon, SIGTERM) == 0);
	check_end(handle);
	check_end(own);
}

} // namespace

int main(int argc, char **argv)
{
	if (argc < 2)
		return 2;
	std::setvbuf(stdout, nullptr, _IOLBF, 0);
	if (argc > 2) {
		check_daemon_gone(argv[1], std::atoi(argv[2]));
	} else {
		rngd::thread_generator own;

		CHECK(thrown([] { rngd::generator none("/nonexistent/socket"); }) == ENOENT);
		CHECK(thrown([&] { rngd::generator odd(argv[1], 0, ~0u); }) == EINVAL);
		CHECK(rngclient_local_open_thread(argv[1], 0, 0) == 0);
		rngd::generator handle(argv[1]);
		check_all(own);
		check_all(handle);
		check_moves(argv[1]);
		check_fork(handle);
		check_threads(argv[1]);
	}
	std::printf("%u checks\n", checks);
	return 0;
}
