/* A file layer that knows what a power cut would leave, preloaded into a process under test.
 *
 * Below $POWER_ROOT, fsync and fdatasync note in $POWER_DURABLE what has become durable: of a file its content, of a
 * folder its entries. tests/proofs/power.py rebuilds the tree from these notes alone, so that everything that was
 * written, created or renamed without being synced is gone.
 *
 * A file is known by inode and time of birth, since inode numbers are used again. A note is replaced by rename: a
 * process that is killed while it takes one has not returned from its fsync. Notes of one file are taken one after the
 * other: of two threads that sync one folder, the one that looked first must not have the last word.
 *
 * A file is read through the very descriptor that is synced where it can be: to close another one would drop the
 * process's record locks on the file, and SQLite, which rests on them, would take it for unused.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

static int identify(int folder, const char *name, int flags, char *key, int *is_folder) {
    struct statx found;
    if (statx(folder, name, flags | AT_SYMLINK_NOFOLLOW, STATX_BASIC_STATS | STATX_BTIME, &found)) return -1;
    snprintf(key, 128, "%llu-%lld-%u", (unsigned long long)found.stx_ino, (long long)found.stx_btime.tv_sec,
             found.stx_btime.tv_nsec);
    *is_folder = S_ISDIR(found.stx_mode);
    return 0;
}

static void note_file(int source, int note) {
    static __thread char buffer[1 << 16];
    off_t position = 0;
    ssize_t size;
    while ((size = pread(source, buffer, sizeof buffer, position)) > 0) {
        if (write(note, buffer, size) != size) abort();
        position += size;
    }
}

static void note_folder(int source, int note) {
    int again = openat(source, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *entries = again < 0 ? NULL : fdopendir(again);
    if (!entries) abort();
    for (struct dirent *entry; (entry = readdir(entries));) {
        char key[128];
        int is_folder;
        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, "..")) continue;
        if (identify(source, entry->d_name, 0, key, &is_folder)) continue; /* removed meanwhile */
        dprintf(note, "%c %s %s\n", is_folder ? 'd' : 'f', key, entry->d_name);
    }
    closedir(entries);
}

static void remember(int descriptor) {
    const char *root = getenv("POWER_ROOT"), *durable = getenv("POWER_DURABLE");
    char link[64], path[PATH_MAX], key[128], turn[PATH_MAX], made[PATH_MAX], kept[PATH_MAX];
    int is_folder;
    if (!root || !durable) return;
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return;
    path[length] = 0;
    size_t prefix = strlen(root);
    if (strncmp(path, root, prefix) || (path[prefix] && path[prefix] != '/')) return;
    if (identify(descriptor, "", AT_EMPTY_PATH, key, &is_folder)) return;
    snprintf(turn, sizeof turn, "%s/%s.turn", durable, key);
    int one_at_a_time = open(turn, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (one_at_a_time < 0 || flock(one_at_a_time, LOCK_EX)) abort();
    snprintf(made, sizeof made, "%s/%s.%d.%ld.new", durable, key, getpid(), (long)syscall(SYS_gettid));
    snprintf(kept, sizeof kept, "%s/%s.%c", durable, key, is_folder ? 'd' : 'f');
    int write_only = (fcntl(descriptor, F_GETFL) & O_ACCMODE) == O_WRONLY;
    int readable = write_only ? open(link, O_RDONLY | O_CLOEXEC) : descriptor;
    int note = open(made, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (readable < 0 || note < 0) abort();
    (is_folder ? note_folder : note_file)(readable, note);
    if (write_only) close(readable);
    close(note);
    if (rename(made, kept)) abort();
    close(one_at_a_time);
}

int fsync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fsync");
    int answer = real(descriptor);
    if (!answer) remember(descriptor);
    return answer;
}

int fdatasync(int descriptor) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, "fdatasync");
    int answer = real(descriptor);
    if (!answer) remember(descriptor);
    return answer;
}
