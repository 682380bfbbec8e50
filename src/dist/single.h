/* The transport of one process: di_dist_of where nobody started more. */
#ifndef DI_DIST_SINGLE_H
#define DI_DIST_SINGLE_H

#include "dist/dist.h"

extern const di_dist di_dist_single;

#endif
