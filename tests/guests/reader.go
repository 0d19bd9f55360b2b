// A Go program: tables and statfs from many goroutines, on their small stacks, while the runtime
// preempts them by signals.
package main

import (
	"bytes"
	"fmt"
	"os"
	"sync"
	"syscall"
)

func main() {
	first, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		panic(err)
	}
	var expected syscall.Statfs_t
	if err := syscall.Statfs(os.Args[1], &expected); err != nil {
		panic(err)
	}
	var wait sync.WaitGroup
	for i := 0; i < 100; i++ {
		wait.Add(1)
		go func() {
			defer wait.Done()
			for round := 0; round < 5; round++ {
				var got syscall.Statfs_t
				if err := syscall.Statfs(os.Args[1], &got); err != nil || got != expected {
					panic(fmt.Sprint(err, got, expected))
				}
				table, err := os.ReadFile("/proc/self/mountinfo")
				if err != nil || !bytes.Equal(table, first) {
					panic(fmt.Sprint("another table: ", err))
				}
			}
		}()
	}
	wait.Wait()
	fmt.Printf("%#x\n", expected.Type)
	os.Stdout.Write(first)
}
