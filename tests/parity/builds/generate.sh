#!/bin/sh
# A C program of $1 files with a makefile, in the current folder.
set -e
i=0
while [ $i -lt "$1" ]; do
	printf '#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\nint f%d(int x) { char text[32]; snprintf(text, sizeof text, "%%d", x); return atoi(text) + %d; }\n' $i $i >f$i.c
	i=$((i + 1))
done
{
	i=0
	while [ $i -lt "$1" ]; do echo "int f$i(int);"; i=$((i + 1)); done
	echo '#include <stdio.h>'
	echo 'int main(void) { long sum = 0;'
	i=0
	while [ $i -lt "$1" ]; do echo "sum += f$i($i);"; i=$((i + 1)); done
	echo 'printf("%ld\n", sum); return sum != 0 ? 0 : 1; }'
} >main.c
printf 'objects := $(patsubst %%.c,%%.o,$(wildcard *.c))\nall: program\n\t./program\nprogram: $(objects)\n\t@$(CC) -o $@ $^\n%%.o: %%.c\n\t@$(CC) -O1 -c -o $@ $<\n' >Makefile
