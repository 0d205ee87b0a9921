/* Writes the plan of minimal.hex to standard output, from docs/plan-format.md alone.
 *
 * It uses no library of the project: it shows what a program in another language has to do.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#define MAGIC "EMBRYO\0\1"
#define KEEP_CWD 1u
#define KEEP_UMASK 2u
#define KEEP_SESSION 4u
#define EXEC_PATH 0x0f01u
#define NO_SLOT 0xffffffffu

static unsigned char plan[4096];
static size_t used;

/* Little-endian, whatever the machine is. */
static void put(uint64_t value, unsigned bytes)
{
	for (unsigned i = 0; i < bytes; i++)
		plan[used++] = (unsigned char)(value >> (8 * i));
}

static void put_bytes(const char *bytes, size_t len)
{
	memcpy(plan + used, bytes, len);
	used += len;
}

int main(void)
{
	static const char argv0[] = "true";
	static const char path[] = "/bin/true";
	uint32_t data_len = sizeof argv0 + sizeof path;

	/* Header: 72 bytes. */
	put_bytes(MAGIC, 8);
	put(1, 2);                                        /* version */
	put(72, 2);                                       /* header_len */
	put(0, 4);                                        /* flags */
	put(72 + 64 + data_len, 4);                       /* total_len */
	put(KEEP_CWD | KEEP_UMASK | KEEP_SESSION, 4);     /* keep */
	put(0, 4);                                        /* slots */
	put(1, 4);                                        /* entries */
	put(data_len, 4);                                 /* data_len */
	put(0, 4), put(sizeof argv0, 4), put(1, 4);       /* argv: offset, len, count */
	put(0, 4), put(0, 4), put(0, 4);                  /* envp: none */
	put(0, 8), put(0, 4);                             /* reserved */

	/* The one entry: 64 bytes. */
	put(EXEC_PATH, 2);
	put(0, 2);                                        /* flags */
	put(NO_SLOT, 4);
	put(0, 8), put(0, 8), put(0, 8), put(0, 8);       /* args */
	put(sizeof argv0, 4), put(sizeof path, 4);        /* data[0]: right behind argv */
	put(0, 4), put(0, 4);                             /* data[1]: none */
	put(0, 8);                                        /* reserved */

	/* Data: argv, then what the entries refer to, in their order. */
	put_bytes(argv0, sizeof argv0);
	put_bytes(path, sizeof path);

	return fwrite(plan, 1, used, stdout) == used ? 0 : 1;
}
