/*
 * no_exceptions SOCKET - built with -fno-exceptions and -fno-rtti: prints a number, or is ended by
 * SIGABRT before it has one.
 */
#include <rngclient.hpp>

#include <cstdio>

int main(int argc, char **argv)
{
	rngd::generator random(argc > 1 ? argv[1] : nullptr);

	std::printf("%llu\n", static_cast<unsigned long long>(random()));
	return 0;
}
