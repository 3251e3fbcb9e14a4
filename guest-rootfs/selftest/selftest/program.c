/* Integers, floating point, jumps, signals and threads, with results that depend on nothing but the C standard. */
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

static uint64_t state = 88172645463325252u;

static uint64_t next(void)
{
	state ^= state << 13;
	state ^= state >> 7;
	return state ^= state << 17;
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
	return x < y ? -1 : x > y;
}

static void integers(void)
{
	enum { N = 20000 };
	static uint64_t values[N];
	uint64_t sum = 0;
	for (int i = 0; i < N; i++)
		values[i] = next();
	qsort(values, N, sizeof values[0], by_value);
	for (int i = 1; i < N; i++) {
		sum = sum * 31 + values[i] / (values[i - 1] % 1000 + 1);
		sum ^= (uint64_t)((__int128)(int64_t)values[i] * (int64_t)values[i - 1] >> 61);
		sum += __builtin_popcountll(values[i]) + __builtin_clzll(values[i] | 1);
	}
	printf("integers %016llx\n", (unsigned long long)sum);
}

static void floats(void)
{
	double a = 0, b = 1;
	float f = 1;
	for (int i = 1; i <= 20000; i++) {
		double x = (double)(int64_t)next() / 9223372036854775808.0;
		a = fma(a, 0.999, x * x / (1.0 + fabs(x)));
		b = sqrt(fabs(b) + fabs(x)) + (double)(int32_t)(x * 1e6) / 3.0;
		f = f * 0.5f + (float)x;
	}
	printf("floats %a %a %a %.17g\n", a, b, (double)f, ldexp(nextafter(1, 2), -1070));
	printf("rounding %ld %ld %g %g\n", lrint(2.5), lround(2.5), trunc(-2.7), rint(-3.5));
}

static jmp_buf back;
static volatile sig_atomic_t caught;

static void on_fault(int number, siginfo_t *info, void *context)
{
	(void)context;
	caught = number;
	errno = (int)((uintptr_t)info->si_addr & 0xfff);
	siglongjmp(back, 1);
}

static void signals(void)
{
	struct sigaction action = { .sa_sigaction = on_fault, .sa_flags = SA_SIGINFO };
	sigaction(SIGSEGV, &action, NULL);
	sigaction(SIGBUS, &action, NULL);
	char *page = mmap(NULL, 65536, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	for (int i = 0; i < 100; i++) {
		if (sigsetjmp(back, 1) == 0)
			*(volatile char *)(page + 0x123) = 1;
		if (caught != SIGSEGV || errno != 0x123)
			exit(3);
		caught = 0;
	}
	pid_t child = fork();
	if (child == 0) {
		signal(SIGILL, SIG_DFL);
		__builtin_trap();
	}
	int status;
	waitpid(child, &status, 0);
	printf("signals %d %d\n", WIFSIGNALED(status), errno);
}

enum { THREADS = 4, ROUNDS = 5000 };
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static long guarded;
static atomic_long counted;
static _Thread_local long own;

static void *work(void *argument)
{
	for (int i = 0; i < ROUNDS; i++) {
		pthread_mutex_lock(&lock);
		guarded++;
		pthread_mutex_unlock(&lock);
		atomic_fetch_add(&counted, 2);
		own++;
	}
	return (void *)(own + (intptr_t)argument);
}

static void threads(void)
{
	pthread_t threads[THREADS];
	long sum = 0;
	for (intptr_t i = 0; i < THREADS; i++)
		pthread_create(&threads[i], NULL, work, (void *)i);
	for (int i = 0; i < THREADS; i++) {
		void *result;
		pthread_join(threads[i], &result);
		sum += (long)result;
	}
	printf("threads %ld %ld %ld %ld\n", guarded, (long)counted, sum, own);
}

/* Code that is written while the program runs: mov w0, #imm; ret. */
static void code(void)
{
#ifdef __aarch64__
	uint32_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int sum = 0;
	for (uint32_t i = 0; i < 1000; i++) {
		page[0] = 0x52800000 | i << 5;
		page[1] = 0xd65f03c0;
		__builtin___clear_cache((char *)page, (char *)(page + 2));
		sum += ((int (*)(void))page)();
	}
	printf("code %d\n", sum);
#else
	printf("code %d\n", 999 * 1000 / 2);
#endif
}

int main(void)
{
	integers();
	floats();
	signals();
	threads();
	code();
	char *text = strdup("the quick brown fox");
	printf("strings %zu %s %d\n", strcspn(text, "q"), strstr(text, "brown"), memcmp(text, "the quicc", 9) > 0);
	free(text);
	return 0;
}
