# Two splits of xstest's pairs (method.md 5.6c and what stands below it).
#
#   awk -v out=FOLDER -f random.awk -f xstest.awk xstest/pairs_train.jsonl
#
#   refuse.jsonl, comply.jsonl        pairs against mistralinstruct (353 of 354 want a refusal), and
#                                     against llama2orig (all want compliance): a shortcut, no transfer
#   from_gpt4.jsonl, to_MODEL.jsonl   one generator's preferred answers to another's; rejected answers
#                                     recur, so source and target have prompts of their own
{
    rejected = json_text($0, "rejected_model")
    chosen = json_text($0, "chosen_model")
    odd = random_hash(json_text($0, "prompt")) % 2
    if (rejected == "mistralinstruct") print > (out "/refuse.jsonl")
    if (rejected == "llama2orig") print > (out "/comply.jsonl")
    if (chosen == "gpt4" && !odd) print > (out "/from_gpt4.jsonl")
    if ((chosen == "mistralguard" || chosen == "llama2new") && odd) print > (out "/to_" chosen ".jsonl")
}
