// The chat of a server's page: sends the conversation so far, and shows the answer while it is written. Keeps nothing.
"use strict";
const chatElement = document.getElementById("chat-data");
if (chatElement) {
  const { model, words } = JSON.parse(chatElement.textContent);
  const one = (id) => document.getElementById(id);
  let messages = [];
  let running = null;

  const bubble = (role, text) => {
    const made = document.createElement("li");
    made.className = `said ${role}`;
    const who = document.createElement("b");
    who.textContent = words[role];
    const what = document.createElement("p");
    what.textContent = text;
    made.append(who, what);
    one("talk").append(made);
    made.scrollIntoView({ block: "nearest" });
    return what;
  };

  // Events of a stream, as each is whole.
  const events = async function* (response) {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    let rest = "";
    for (;;) {
      const { done, value } = await reader.read();
      if (done) return;
      rest += value;
      const parts = rest.split("\n\n");
      rest = parts.pop();
      for (const part of parts) {
        const data = part.split("\n").find((line) => line.startsWith("data: "));
        if (data && data !== "data: [DONE]") yield JSON.parse(data.slice(6));
      }
    }
  };

  const answer = async (shown) => {
    const headers = { "content-type": "application/json" };
    if (one("secret").value) headers.authorization = `Bearer ${one("secret").value}`;
    const body = { model, messages, stream: true, stream_options: { include_usage: true }, temperature: Number(one("temperature").value) };
    const began = performance.now();
    running = new AbortController();
    const response = await fetch("/v1/chat/completions", { method: "POST", headers, body: JSON.stringify(body), signal: running.signal });
    if (response.status === 401) one("key").hidden = false;
    if (!response.ok) throw new Error((await response.json()).error?.message ?? words.failed);
    let tokens = 0;
    for await (const event of events(response)) {
      if (event.error) throw new Error(event.error.message);
      shown.textContent += event.choices[0]?.delta?.content ?? "";
      tokens = event.usage?.completion_tokens ?? tokens;
    }
    const rate = (1000 * tokens) / (performance.now() - began);
    one("pace").textContent = words.pace.replace("{tokens}", tokens).replace("{rate}", rate.toFixed(0));
  };

  const say = async () => {
    const text = one("say").value.trim();
    if (!text || running) return;
    one("say").value = "";
    one("wrong").hidden = true;
    messages.push({ role: "user", content: text });
    bubble("user", text);
    const shown = bubble("assistant", "");
    one("tell").disabled = true;
    one("halt").hidden = false;
    one("pace").textContent = words.writing;
    let whole = false;
    try {
      await answer(shown);
      whole = true;
    } catch (error) {
      one("pace").textContent = "";
      if (error.name !== "AbortError") {
        one("wrong").textContent = error.message || words.failed;
        one("wrong").hidden = false;
      }
    }
    if (whole || shown.textContent) messages.push({ role: "assistant", content: shown.textContent });
    else {
      messages.pop();
      shown.parentElement.remove();
    }
    running = null;
    one("tell").disabled = false;
    one("halt").hidden = true;
    one("say").focus();
  };

  one("speak").addEventListener("submit", (event) => {
    event.preventDefault();
    say();
  });
  one("say").addEventListener("keydown", (event) => {
    if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
      event.preventDefault();
      say();
    }
  });
  one("halt").addEventListener("click", () => running?.abort());
  one("anew").addEventListener("click", () => {
    running?.abort();
    messages = [];
    one("talk").replaceChildren();
    one("pace").textContent = "";
    one("wrong").hidden = true;
  });
}
