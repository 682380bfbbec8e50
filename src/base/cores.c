#include "base/cores.h"

#include <stdio.h>

/* The lowest CPU of the core that this CPU is a thread of; the CPU itself where Linux is silent. */
static int first_sibling(int cpu)
{
    char path[128];
    int first = cpu;
    FILE *f;

    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list", cpu);
    f = fopen(path, "r");
    if (f == NULL) return cpu;
    if (fscanf(f, "%d", &first) != 1) first = cpu; /* "3,67" or "6-7": ascending */
    fclose(f);
    return first;
}

/* Two threads of a core share its vector units: the second one would take turns with the first. */
void di_cores_allowed(cpu_set_t *cores)
{
    cpu_set_t allowed;

    CPU_ZERO(&allowed);
    CPU_ZERO(cores);
    if (sched_getaffinity(0, sizeof allowed, &allowed) != 0) return;
    for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
        int first;

        if (!CPU_ISSET(cpu, &allowed)) continue;
        first = first_sibling(cpu);
        CPU_SET(first >= 0 && first < CPU_SETSIZE ? first : cpu, cores);
    }
}

int di_cores_here(void)
{
    cpu_set_t cores;

    di_cores_allowed(&cores);
    return CPU_COUNT(&cores) > 0 ? CPU_COUNT(&cores) : 1;
}
