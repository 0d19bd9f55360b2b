/* A 32-bit program: calls by the gate that its first argument names, with all registers known before and shown
 * after; then the struct with its surroundings, and a mount table. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>

/* eax, ebx, ecx, edx, esi, edi, ebp: before and after. The gate, and by how much the stack pointer changed. */
unsigned words[7], gate, moved;
static unsigned char area[256];

void call_gate(void);
__asm__(".text\n"
        "call_gate:\n"
        "push %ebx\n push %esi\n push %edi\n push %ebp\n"
        "mov words, %eax\n mov words+4, %ebx\n mov words+8, %ecx\n mov words+12, %edx\n"
        "mov words+16, %esi\n mov words+20, %edi\n mov words+24, %ebp\n"
        "mov %esp, moved\n"
        "cmpl $0, gate\n je 1f\n"
        "call *gate\n jmp 2f\n"
        "1: int $0x80\n"
        "2: sub %esp, moved\n"
        "mov %eax, words\n mov %ebx, words+4\n mov %ecx, words+8\n mov %edx, words+12\n"
        "mov %esi, words+16\n mov %edi, words+20\n mov %ebp, words+24\n"
        "pop %ebp\n pop %edi\n pop %esi\n pop %ebx\n ret\n");

static unsigned call(const char *name, unsigned number, unsigned a, unsigned b, unsigned c, unsigned d)
{
    unsigned start[7] = {number, a, b, c, d, 0x5a5a0005, 0x5a5a0006};
    memcpy(words, start, sizeof start);
    call_gate();
    printf("%s: %d", name, (int)words[0]);
    for (int i = 1; i < 7; i++)
        printf(words[i] == start[i] ? " kept" : " %x", words[i]);
    printf(" %x\n", moved);
    return words[0];
}

static void show(void)
{
    printf("  %02x%02x%02x%02x  ", area[64], area[65], area[66], area[67]);
    for (unsigned i = 0; i < sizeof area; i++)
        printf("%02x", area[i]);
    printf("\n");
    memset(area, 0xA5, sizeof area);
}

static void copy(int fd)
{
    char part[77];
    ssize_t got;
    fflush(stdout);
    while ((got = read(fd, part, sizeof part)) > 0)
        fwrite(part, 1, (size_t)got, stdout);
    close(fd);
}

int main(int argc, char **argv)
{
    if (argc < 4)
        return 2;
    gate = strcmp(argv[1], "vdso") ? 0 : getauxval(AT_SYSINFO);
    if (!gate && !strcmp(argv[1], "vdso"))
        return 3;
    unsigned path = (unsigned)argv[2], table = (unsigned)argv[3], room = (unsigned)(area + 64);
    unsigned long long how[3] = {0, 0, 0};
    int fd = open(argv[2], O_RDONLY);
    memset(area, 0xA5, sizeof area);
    call("statfs", SYS_statfs, path, room, 0x5a5a0003, 0x5a5a0004), show();
    call("statfs64", SYS_statfs64, path, 84, room, 0x5a5a0004), show();
    call("fstatfs", SYS_fstatfs, (unsigned)fd, room, 0x5a5a0003, 0x5a5a0004), show();
    call("fstatfs64", SYS_fstatfs64, (unsigned)fd, 84, room, 0x5a5a0004), show();
    close(fd);
    copy((int)call("open", SYS_open, table, 0, 0, 0x5a5a0004));
    copy((int)call("openat", SYS_openat, AT_FDCWD, table, 0, 0));
    copy((int)call("openat2", 437, AT_FDCWD, table, (unsigned)how, sizeof how));
    call("open of nothing", SYS_open, 8, 0, 0, 0x5a5a0004);
    return 0;
}
