/* SPDX-License-Identifier: Apache-2.0
 *
 * libFuzzer target of the loader: the input is an object file, and the kernel's types behind it; the first 4 bytes say where those begin. There
 * is no kernel: what bpf(2) is given is touched instead. tests/test_live_fuzz.py builds it and makes its seeds.
 */
#define _GNU_SOURCE             /* first of all headers: of what is replaced below, too */
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static const uint8_t *kernel_types;
static size_t kernel_types_len, kernel_types_at;

static int fake_open(void) { kernel_types_at = 0; return 3; }

static ssize_t fake_read(void *to, size_t room)
{
    size_t left = kernel_types_len - kernel_types_at, n = left < room ? left : room;

    memcpy(to, kernel_types + kernel_types_at, n);
    kernel_types_at += n;
    return (ssize_t)n;
}

static long fake_syscall(long number, int command, void *attr, unsigned size);

#define open(...) fake_open()
#define read(fd, to, room) ((void)(fd), fake_read(to, room))
#define close(fd) ((void)(fd), 0)
#define syscall fake_syscall
#include "../load.c"
#undef syscall

int fl_tracefs_attach(const char *name, int program, struct fl_error *error)
{
    (void)name, (void)program, (void)error;
    return 5;
}

static volatile uint64_t touched;
static unsigned refuse;         /* a program in so many is refused */

static void touch(uint64_t at, size_t len)
{
    const uint8_t *bytes = (const void *)(uintptr_t)at;
    uint64_t sum = 0;

    for (size_t i = 0; i < len; i++)
        sum += bytes[i];
    touched += sum;
}

static long fake_syscall(long number, int command, void *attr, unsigned size)
{
    static unsigned programs;

    (void)number;
    touch((uintptr_t)attr, size);
    if (command == BPF_BTF_LOAD) {
        const union bpf_attr *btf = attr;
        touch(btf->btf, btf->btf_size);
    } else if (command == BPF_PROG_LOAD) {
        const struct prog_load *program = attr;
        touch(program->insns, program->insn_cnt * 8ull);
        touch(program->func_info, (size_t)program->func_info_rec_size * program->func_info_cnt);
        touch(program->core_relos, (size_t)program->core_relo_rec_size * program->core_relo_cnt);
        if (refuse && ++programs % refuse == 0) {
            if (program->log_buf)
                memset((void *)(uintptr_t)program->log_buf, programs % 2 ? '\n' : 'x', program->log_size);
            errno = EACCES;
            return -1;
        }
    }
    return command == BPF_MAP_UPDATE_ELEM ? 0 : 4;
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t size)
{
    static const char *const others[] = {"fl_sys_exit", "fl_enter_open"};
    uint8_t events[FL_EV_COUNT];
    struct fl_error error = {0};
    uint32_t at;

    if (size < 4)
        return 0;
    memcpy(&at, input, 4);
    refuse = at >> 29;
    at &= (1u << 29) - 1;
    if (at > size - 4)
        at = (uint32_t)size - 4;
    kernel_types = input + 4 + at;
    kernel_types_len = size - 4 - at;
    memset(events, 1, sizeof events);
    struct fl_loader *loader = fl_loader_new(input + 4, at, &error);
    bool sound = loader != NULL;
    if (loader) {
        sound &= fl_loader_handlers(loader, events, FL_EV_COUNT, &error) == FL_OK;
        for (size_t i = 0; i < sizeof others / sizeof *others; i++)
            sound &= fl_loader_attach(loader, others[i], &error) == FL_OK;
        sound &= fl_loader_iterate(loader, "fl_iter_task", &error) >= 0;
        fl_loader_iterate(loader, "fl_iter_file", &error);
    }
    fl_loader_free(loader);
    if (!sound && getenv("FUZZ_SOUND"))         /* set for an object that must get through */
        abort();
    return 0;
}
