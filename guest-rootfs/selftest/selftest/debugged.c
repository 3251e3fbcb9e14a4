/* What the test `gdb` debugs: every value that it looks at follows from here. */
#include <stdio.h>
#include <string.h>

struct pair {
	long first, second;
};

long count, total, squares[8];
char text[32];
struct pair pair;

static long square(long n)
{
	return n * n;
}

static long sum(long last)
{
	long result = 0;
	for (long n = 1; n <= last; n++)
		result += square(n);
	return result;
}

int main(void)
{
	count = sum(3);
	total = sum(5);
	for (long n = 0; n < 8; n++)
		squares[n] = square(n);
	strcpy(text, "samovar");
	pair.first = total + 1;
	pair.second = pair.first * 2;
	total = pair.first + squares[3];
	printf("gdb: the program says %ld %ld %s %ld\n", count, total, text, pair.second);
	return 0;
}
