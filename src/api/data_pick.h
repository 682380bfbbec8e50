/* `dial data pick`; dial_data calls it. */
#ifndef DI_API_DATA_PICK_H
#define DI_API_DATA_PICK_H

#include "dial/dial.h"

dial_status di_data_pick(const dial_data_options *o, const dial_env *env, char **json,
                         dial_error *err);

#endif
