/* Ends in one of many ways; as PID 1 of a namespace, too. What a trap doesn't end says so. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int deep(volatile char *above)
{
	volatile char page[4096];
	page[0] = *above;
	return deep(page) + page[0];
}

int main(int argc, char **argv)
{
	const char *how = argc > 1 ? argv[1] : "";
	volatile char byte = 0;

	if (!strcmp(how, "segv")) *(volatile int *)8 = 1;
	if (!strcmp(how, "blocked-segv")) {
		sigset_t all;
		sigfillset(&all);
		sigprocmask(SIG_BLOCK, &all, NULL);
		*(volatile int *)8 = 1;
	}
	if (!strcmp(how, "ignored-segv")) {
		signal(SIGSEGV, SIG_IGN);
		*(volatile int *)8 = 1;
	}
	if (!strcmp(how, "raise-segv")) raise(SIGSEGV);
	if (!strcmp(how, "abort")) abort();
	if (!strcmp(how, "illegal")) __asm__("ud2");
	if (!strcmp(how, "protected")) __asm__("hlt");
	if (!strcmp(how, "int3")) __asm__("int3");
	if (!strcmp(how, "int4")) __asm__("int $4");
	if (!strcmp(how, "divide")) __asm__("xor %%ecx, %%ecx; div %%ecx" : : : "eax", "ecx", "edx");
	if (!strcmp(how, "stack")) return deep(&byte);
	puts("alive");
	return 11;
}
