package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// mounts says what a program finds out about a mount point, and about its own mount table.
type mounts struct {
	Statfs string `json:"statfs"` // the magic
	Type   string `json:"type"`   // in mountinfo
	Epoll  string `json:"epoll"`  // whether the table can be watched: "yes", or the error
	Poll   string `json:"poll"`   // what poll says of the table after a mount
}

const pollMilliseconds = 2000

// printMounts mounts something below a folder of its own for a moment.
func printMounts(point string) error {
	var said mounts
	var fs unix.Statfs_t
	if err := unix.Statfs(point, &fs); err != nil {
		return fmt.Errorf("statfs of %s: %w", point, err)
	}
	said.Statfs = fmt.Sprintf("%#x", fs.Type)
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	for _, line := range strings.Split(string(text), "\n") {
		if before, after, found := strings.Cut(line, " - "); found && strings.Fields(before)[4] == point {
			said.Type = strings.Fields(after)[0]
		}
	}
	table, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return err
	}
	defer table.Close()
	fd := int(table.Fd())
	epoll, err := unix.EpollCreate1(unix.EPOLL_CLOEXEC)
	if err != nil {
		return err
	}
	said.Epoll = "yes"
	if err := unix.EpollCtl(epoll, unix.EPOLL_CTL_ADD, fd, &unix.EpollEvent{Events: unix.EPOLLPRI}); err != nil {
		said.Epoll = err.Error()
	}
	if said.Poll, err = pollAfterMount(fd); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(said)
}

func pollAfterMount(fd int) (string, error) {
	folder, err := os.MkdirTemp("/tmp", "mounts")
	if err != nil {
		return "", err
	}
	if err := unix.Mount("mounts", folder, "tmpfs", 0, ""); err != nil {
		return "", fmt.Errorf("mounting at %s: %w", folder, err)
	}
	set := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLPRI}}
	count, err := unix.Poll(set, pollMilliseconds)
	for errors.Is(err, unix.EINTR) {
		count, err = unix.Poll(set, pollMilliseconds)
	}
	if err := errors.Join(err, unix.Unmount(folder, 0), os.Remove(folder)); err != nil {
		return "", err
	}
	if count == 0 {
		return "nothing", nil
	}
	return fmt.Sprintf("events %#x", set[0].Revents), nil
}
