/* A 32-bit program: statfs in its four forms with guard bytes around the struct, then a mount table,
 * through the C library and through the old system calls. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static unsigned char area[256];

static void show(const char *call, long result)
{
    printf("%s %ld %d ", call, result, result < 0 ? errno : 0);
    for (unsigned i = 0; i < sizeof area; i++)
        printf("%s%02x", i == 64 || i == 68 ? " " : "", area[i]);
    printf("\n");
}

static void fill(void)
{
    for (unsigned i = 0; i < sizeof area; i++)
        area[i] = (unsigned char)(i ^ 0xA5);
}

static void copy(int fd)
{
    char part[77];
    ssize_t got;
    while ((got = read(fd, part, sizeof part)) > 0)
        fwrite(part, 1, (size_t)got, stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3)
        return 2;
    const char *path = argv[1], *table = argv[2];
    int fd = open(path, O_RDONLY);
    fill(), show("statfs", syscall(SYS_statfs, path, area + 64));
    fill(), show("fstatfs", syscall(SYS_fstatfs, fd, area + 64));
    fill(), show("statfs64", syscall(SYS_statfs64, path, 84, area + 64));
    fill(), show("fstatfs64", syscall(SYS_fstatfs64, fd, 84, area + 64));
    fill(), show("statfs64 of another size", syscall(SYS_statfs64, path, 12, area + 64));
    fill(), show("statfs without a path", syscall(SYS_statfs, 1, area + 64));
    copy((int)syscall(SYS_open, table, O_RDONLY));
    copy((int)syscall(SYS_openat, AT_FDCWD, table, O_RDONLY));
    copy(open(table, O_RDONLY | O_CLOEXEC));
    int again = open(table, O_RDONLY);
    fill(), show("fstatfs of the table", syscall(SYS_fstatfs, again, area + 64));
    area[64] = 'x';
    long written = write(again, area, 1);
    printf("write %ld %d\n", written, errno);
    return 0;
}
