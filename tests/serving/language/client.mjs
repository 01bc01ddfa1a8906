// Asks a server by openai for Node, and prints what it was answered.
import OpenAI from "openai";

const [url, tools] = process.argv.slice(2);
const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
const asked = { model: "talker", messages: [{ role: "user", content: "Is day 7 warm?" }], max_tokens: 12, seed: 1 };
const whole = await client.chat.completions.create(asked);
let streamed = "";
let usage = 0;
for await (const piece of await client.chat.completions.create({ ...asked, stream: true, stream_options: { include_usage: true } })) {
  streamed += piece.choices[0]?.delta?.content ?? "";
  usage = piece.usage?.completion_tokens ?? usage;
}
const called = await client.chat.completions.create({ ...asked, max_tokens: 80, temperature: 0, tools: JSON.parse(tools) });
const vectors = await client.embeddings.create({ model: "encoder", input: ["To be"] });
const completion = await client.completions.create({ model: "talker", prompt: "Is day", max_tokens: 3 });
const models = [];
for await (const model of client.models.list()) models.push(model.id);
const errors = [];
for (const wrong of [{ ...asked, model: "other" }, { ...asked, presence_penalty: 1 }]) {
  try {
    await client.chat.completions.create(wrong);
  } catch (error) {
    errors.push(error.constructor.name);
  }
}
const { name, arguments: given } = called.choices[0].message.tool_calls[0].function;
const values = vectors.data[0].embedding;
console.log(JSON.stringify({
  whole: whole.choices[0].message.content, streamed, usage, tokens: whole.usage.completion_tokens,
  call: { name, arguments: given }, width: values.length, length: Math.hypot(...values),
  errors, models, completed: completion.choices[0].finish_reason === "length",
}));
