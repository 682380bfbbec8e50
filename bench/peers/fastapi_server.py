"""A reward model behind transformers and FastAPI, as such servers are usually written: a request is a batch.

usage: fastapi_server.py FOLDER PORT

FOLDER is what `dial export --to hf` writes. Answers OpenRLHF's /get_reward, as dial serve does. Batches of two requests
would share the cores: one is computed at a time, by all of them.
"""
import os
import sys
import threading

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from transformers import AutoModelForSequenceClassification, AutoTokenizer

folder, port = sys.argv[1], int(sys.argv[2])
torch.set_num_threads(os.cpu_count())
tokenizer = AutoTokenizer.from_pretrained(folder)
model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.bfloat16).eval()
app = FastAPI()
one = threading.Lock()


class Query(BaseModel):
    query: list[str]


@app.get("/health")
def health():
    return {"status": "ok"}


@app.post("/get_reward")
def get_reward(q: Query):
    batch = tokenizer(q.query, padding=True, truncation=True, max_length=1024, return_tensors="pt")
    with one, torch.inference_mode():
        rewards = model(**batch).logits[:, 0].float().tolist()
    return {"rewards": rewards}


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")
