/*
 * rngclient.hpp - the local generator of librngclient for C++17 and later.
 *
 *	#include <rngclient.hpp>
 *	std::uniform_int_distribution<int> die(1, 6);
 *	rngd::thread_generator random;
 *	int eyes = die(random);
 *	std::shuffle(deck.begin(), deck.end(), random);
 *
 * Header only; link with -lrngclient. rngclient_local.h says what the numbers are, what threads,
 * fork() and signal handlers may do, and which errors there are.
 *
 * Both generators are UniformRandomBitGenerators: 64 random bits a call. What cannot be given is
 * never replaced: every call that fails throws rngd::error, with the C call's errno in
 * std::generic_category(). A distribution or algorithm that was under way is left by that
 * exception; std::shuffle then leaves all elements there, in an order that must not be taken for
 * random. Compiled with -fno-exceptions every failure is std::abort(); one program must then be
 * compiled so in all its parts that include this. -fno-rtti makes no difference.
 *
 * Everything is in namespace rngd: the C library has taken the name rngclient, for a struct.
 */
#ifndef RNGCLIENT_HPP
#define RNGCLIENT_HPP

#include <cerrno>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <limits>
#include <string>
#include <system_error>
#include <utility>

#include "rngclient_local.h"

namespace rngd
{

/* code() is the errno. */
class error : public std::system_error
{
public:
	/* negative_errno: as the C library returns it. what: the name of the call. */
	error(int negative_errno, const char *what)
	    : std::system_error(-negative_errno, std::generic_category(), what)
	{
	}
};

namespace detail
{

inline void check(int err, const char *what)
{
	if (err == 0)
		return;
#if defined(__cpp_exceptions)
	throw error(err, what);
#else
	static_cast<void>(what);
	std::abort();
#endif
}

/* The draws. Derived says with handle() from which generator, or throws. */
template <class Derived> class draws
{
public:
	using result_type = std::uint64_t;

	static constexpr result_type min() noexcept
	{
		return 0;
	}

	static constexpr result_type max() noexcept
	{
		return std::numeric_limits<result_type>::max();
	}

	/* 64 random bits. */
	[[nodiscard]] result_type operator()()
	{
		result_type value;

		check(rngclient_local_u64(handle(), &value), "rngclient_local_u64");
		return value;
	}

	/* A number from 0 to bound - 1, each as likely, exactly. bound 0: EINVAL. */
	[[nodiscard]] result_type below(result_type bound)
	{
		result_type value;

		check(rngclient_local_below(handle(), bound, &value), "rngclient_local_below");
		return value;
	}

	/* Fills buf with len random bytes; zero bytes when it throws. */
	void bytes(void *buf, std::size_t len)
	{
		check(rngclient_local_bytes(handle(), buf, len), "rngclient_local_bytes");
	}

	/* A version-4 UUID in lower case. */
	[[nodiscard]] std::string uuid()
	{
		char text[RNGCLIENT_UUID_TEXT_BYTES];

		check(rngclient_local_uuid(handle(), text), "rngclient_local_uuid");
		return std::string(text);
	}

protected:
	draws() = default;
	~draws() = default;
	draws(const draws &) = default;
	draws &operator=(const draws &) = default;

private:
	rngclient_local *handle()
	{
		return static_cast<Derived *>(this)->handle();
	}
};

} // namespace detail

/*
 * The calling thread's own generator, made by the C library on first use. Empty and free to make:
 * each thread that uses one draws from its own.
 */
class thread_generator : public detail::draws<thread_generator>
{
public:
	thread_generator() noexcept
	{
	}

private:
	friend class detail::draws<thread_generator>;

	static rngclient_local *handle() noexcept
	{
		return nullptr;
	}
};

/*
 * A generator by itself, used by one thread at a time. It can be moved but not copied: there are no
 * two with the same state. One that was moved from has none, and every draw throws EINVAL.
 */
class generator : public detail::draws<generator>
{
public:
	/* As rngclient_local_open(); throws its errors. nullptr, 0, 0: the defaults. */
	explicit generator(const char *socket_path = nullptr, int timeout_ms = 0,
			   unsigned int options = 0)
	{
		detail::check(rngclient_local_open(&local_, socket_path, timeout_ms, options),
			      "rngclient_local_open");
	}

	~generator()
	{
		rngclient_local_close(local_);
	}

	generator(const generator &) = delete;
	generator &operator=(const generator &) = delete;

	generator(generator &&other) noexcept : local_(std::exchange(other.local_, nullptr))
	{
	}

	generator &operator=(generator &&other) noexcept
	{
		if (this != &other) {
			rngclient_local_close(local_);
			local_ = std::exchange(other.local_, nullptr);
		}
		return *this;
	}

private:
	friend class detail::draws<generator>;

	/* nullptr would be the thread's own: another daemon's, with other options. */
	rngclient_local *handle() const
	{
		if (!local_)
			detail::check(-EINVAL, "rngd::generator was moved from");
		return local_;
	}

	rngclient_local *local_ = nullptr;
};

} // namespace rngd

#endif
