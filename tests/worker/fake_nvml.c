/* libnvidia-ml.so.1 as far as maitred asks it, with no driver behind. What it tells is in the environment:

   FAKE_NVML_INIT     what nvmlInitWithFlags returns (18: the driver is of another version); "hang": never
   FAKE_NVML_GPUS     a letter for each: p plain, m in MIG mode with two slices, e in MIG mode and empty, l lost,
                      g lost since it was found, n with no memory of its own
   FAKE_NVML_FREE     GiB free of each device, in the order found, as "70,30"; 80 where nothing is said
   FAKE_NVML_PROCESS  "device:pid:bytes:percent" of processes on them, separated by commas
   FAKE_NVML_HANG     if set, questions of memory and processes never return

   With -DOLD it lacks what drivers before 510 lack. */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

typedef unsigned long long u64;
typedef struct { char kind; int index; int slice; } device; /* slice: -1 for the whole */
typedef struct { u64 total, free, used; } memory;
typedef struct { unsigned pid; u64 bytes; unsigned gpu_instance, compute_instance; } process;
typedef struct { unsigned pid; u64 at; unsigned sm, mem, enc, dec; } sample;

enum { OK = 0, INVALID = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7, LOST = 15 };

static device devices[64]; /* slice s of GPU i is 8 + 4 * i + s */

static const char *setting(const char *name) { const char *value = getenv(name); return value ? value : ""; }
static void maybe_hang(void) { while (getenv("FAKE_NVML_HANG")) sleep(1); }
static int lost(device *one) { return one->kind == 'l' || one->kind == 'g'; }

int nvmlInitWithFlags(unsigned flags) {
    while (!strcmp(setting("FAKE_NVML_INIT"), "hang")) sleep(1);
    return atoi(setting("FAKE_NVML_INIT"));
}
int nvmlShutdown(void) { return OK; }
const char *nvmlErrorString(int code) { return "some error"; }
int nvmlSystemGetDriverVersion(char *text, unsigned size) { snprintf(text, size, "550.54"); return OK; }
int nvmlDeviceGetCount_v2(unsigned *count) { *count = strlen(setting("FAKE_NVML_GPUS")); return OK; }

int nvmlDeviceGetHandleByIndex_v2(unsigned index, device **handle) {
    device one = {setting("FAKE_NVML_GPUS")[index], index, -1};
    if (one.kind == 'l') return LOST;
    devices[index] = one;
    *handle = &devices[index];
    return OK;
}

int nvmlDeviceGetMigMode(device *one, unsigned *current, unsigned *pending) {
    if (one->kind != 'm' && one->kind != 'e' && one->index) return NOT_SUPPORTED; /* a GPU of another make */
    *current = *pending = one->kind == 'm' || one->kind == 'e';
    return OK;
}
int nvmlDeviceGetMaxMigDeviceCount(device *one, unsigned *count) { *count = 4; return OK; }
int nvmlDeviceGetMigDeviceHandleByIndex(device *one, unsigned slice, device **handle) {
    if (one->kind != 'm' || slice % 2) return NOT_FOUND; /* places 0 and 2 are filled */
    device part = {'m', one->index, slice / 2};
    *handle = &devices[8 + 4 * one->index + slice];
    **handle = part;
    return OK;
}

int nvmlDeviceGetUUID(device *one, char *text, unsigned size) {
    if (one->slice < 0) snprintf(text, size, "GPU-%d0000000-aaaa", one->index);
    else snprintf(text, size, "MIG-%d%d000000-bbbb", one->index, one->slice);
    return OK;
}
int nvmlDeviceGetName(device *one, char *text, unsigned size) {
    snprintf(text, size, one->slice < 0 ? "NVIDIA H100" : "NVIDIA H100 MIG 3g.40gb");
    return OK;
}

static int place(device *one) { return one->slice < 0 ? one->index : 2 * one->index + one->slice; }

int nvmlDeviceGetMemoryInfo(device *one, memory *told) {
    maybe_hang();
    if (one->kind == 'n') return NOT_SUPPORTED;
    static int asked[64]; /* 'g' tells of its memory once, when it is found */
    if (one->kind == 'g' && asked[one->index]++) return LOST;
    const char *free = setting("FAKE_NVML_FREE");
    for (int i = place(one); i && free; i--) free = strchr(free, ',') ? strchr(free, ',') + 1 : NULL;
    told->total = 80ull << 30;
    told->free = free && *free ? (u64)atoi(free) << 30 : told->total;
    told->used = told->total - told->free;
    return OK;
}

static int processes(device *one, unsigned *count, process *told) {
    maybe_hang();
    if (lost(one)) return LOST;
    unsigned found = 0, room = told ? *count : 0;
    for (const char *at = setting("FAKE_NVML_PROCESS"); at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        int where;
        process next = {0};
        sscanf(at, "%d:%u:%llu", &where, &next.pid, &next.bytes);
        if (where != place(one)) continue;
        if (found < room) told[found] = next;
        found++;
    }
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}
#ifdef OLD
int nvmlDeviceGetComputeRunningProcesses_v2(device *one, unsigned *count, process *told) {
#else
int nvmlDeviceGetComputeRunningProcesses_v3(device *one, unsigned *count, process *told) {
#endif
    return processes(one, count, told);
}

int nvmlDeviceGetProcessUtilization(device *one, sample *told, unsigned *count, u64 since) {
    if (one->slice >= 0) return NOT_SUPPORTED;
    unsigned found = 0;
    for (const char *at = setting("FAKE_NVML_PROCESS"); at && *at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL) {
        int where;
        sample next = {.at = 1000};
        sscanf(at, "%d:%u:%*u:%u", &where, &next.pid, &next.sm);
        if (where != place(one) || next.at <= since) continue;
        if (told && found < *count) told[found] = next;
        found++;
    }
    if (!found) return NOT_FOUND;
    unsigned room = told ? *count : 0;
    *count = found;
    return found > room ? INSUFFICIENT_SIZE : OK;
}
