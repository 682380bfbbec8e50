/*
 * Sharpness-aware step of the source loss (Foret et al. 2021, arXiv 2010.01412; method.md 8.11):
 * instead of the gradient at theta the one at the worst point near it,
 *
 *     theta' = theta + rho g / ||g||,  g = dL_src/dtheta        over all that is trained
 *
 * Only the loss of the source's labels is made flat; smoothing the adversarial loss would weaken
 * the critic's pull (Rangwani et al. 2022, arXiv 2206.08213). Nothing stays from step to step.
 */
#ifndef DI_TRAIN_SAM_H
#define DI_TRAIN_SAM_H

#include "model/lora.h"
#include "tensor/ops.h"

typedef struct di_sam {
    di_device *dev;
    di_params *params; /* borrowed */
    double rho;
    float *g;     /* [params->size] the gradient at theta; NULL: no sharpness-aware steps */
    float *theta; /* [params->size] what the parameters were */
    int away;     /* params->theta is theta' */
} di_sam;

/* rho 0: nothing is taken and g stays NULL. Free with di_sam_deinit. */
dial_status di_sam_init(di_sam *s, di_device *dev, di_params *params, double rho, dial_error *err);
void di_sam_deinit(di_sam *s);

/* params->theta = theta' by the gradient in g; theta itself where g is 0 or not finite. */
void di_sam_ascend(di_sam *s);
/* params->theta is what it was before di_sam_ascend, to the bit. */
void di_sam_return(di_sam *s);

#endif
