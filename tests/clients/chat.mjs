// People who chat with Node: half of them with `ws`, half with Node's own WebSocket where it has one.
//
//   node chat.mjs ws://127.0.0.1:3000/ 150 < people.json
//
// people.json: [{"id": 1, "token": "..."}, ...], two by two. Ends with 1 and a sentence for each fault: a connection
// that ended, a ping of ws without its pong before the next, none of the server's pings, a message or a reply that is
// missing or out of order.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// Where NODE_PATH says, which import does not ask.
const require = createRequire(import.meta.url);
const WebSocketOfWs = require("ws");
const [url, seconds] = [process.argv[2], Number(process.argv[3])];
const people = JSON.parse(readFileSync(0, "utf8"));
const faults = [];
// As often as clients usually ping, so that pings meet requests.
const POLL_MS = 20_000;

class Person {
  constructor(me, peer, usesWs) {
    Object.assign(this, { me, peer, usesWs, waiting: [], received: [], written: 0, nextId: 0, isOver: false });
  }

  fault(text) {
    if (!this.isOver) faults.push(`${this.me.id}: ${text}`);
  }

  open() {
    const socket = this.usesWs
      ? new WebSocketOfWs(url, { headers: { Authorization: `Bearer ${this.me.token}` } })
      : new WebSocket(url, ["auth", this.me.token]);
    this.socket = socket;
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => this.fault(`closed with ${event.code} ${event.reason}`);
    socket.onerror = (event) => this.fault(`failed: ${event.message}`);
    if (this.usesWs) {
      this.pings = 0;
      socket.on("ping", () => this.pings++);
      socket.on("pong", (payload) => (this.pong = String(payload)));
    }
    return new Promise((resolve) => (socket.onopen = resolve));
  }

  take(frame) {
    if (frame.id === undefined) return this.received.push(frame.params.message);
    const { id, resolve } = this.waiting.shift();
    if (frame.id !== id) this.fault(`the reply to ${frame.id} came in the place of that to ${id}`);
    if (!frame.success) this.fault(`refused: ${JSON.stringify(frame)}`);
    resolve(frame);
  }

  ask(type, params) {
    const id = ++this.nextId;
    this.socket.send(JSON.stringify({ type, params, id }));
    return new Promise((resolve) => this.waiting.push({ id, resolve }));
  }

  async write(until) {
    while (Date.now() < until) {
      const content = `${this.me.id}/${this.written}`;
      await this.ask("privateMessage", { receiverId: this.peer.id, content, clientMessageId: content });
      this.written++;
      await sleep(500);
    }
  }

  async poll(until) {
    for (let nth = 0; Date.now() + POLL_MS < until; nth++) {
      await sleep(POLL_MS);
      if (this.usesWs && nth > 0 && this.pong !== String(nth - 1)) this.fault(`no pong for ping ${nth - 1}`);
      const page = { receiverId: this.peer.id, limit: 50 };
      const asked = [];
      for (let i = 0; i < 5; i++) asked.push(this.ask("listLastMessage", {}), this.ask("getlatestMessageDialog", page));
      if (this.usesWs) this.socket.ping(String(nth));
      await Promise.all(asked);
    }
  }

  async chat() {
    await this.open();
    const until = Date.now() + seconds * 1000;
    await Promise.all([this.write(until), this.poll(until)]);
    // What the other one wrote last may be on its way.
    await sleep(5_000);
    if (this.usesWs && this.pings < Math.floor(seconds / 30)) this.fault(`${this.pings} pings of the server`);
    this.isOver = true;
    this.socket.close();
  }
}

const hasOwn = typeof WebSocket === "function";
const chats = people.map((me, nth) => new Person(me, people[nth ^ 1], !hasOwn || nth % 4 < 2));
// A connection that ended leaves requests without a reply.
const late = sleep((seconds + 30) * 1000, null, { ref: false }).then(() => faults.push("somebody waits for a reply"));
await Promise.race([Promise.all(chats.map((person) => person.chat())), late]);
chats.forEach((person, nth) => {
  const peer = chats[nth ^ 1];
  const wanted = Array.from({ length: peer.written }, (_, message) => `${peer.me.id}/${message}`);
  if (JSON.stringify(person.received) !== JSON.stringify(wanted)) {
    faults.push(`${person.me.id} received ${person.received.length} of ${wanted.length} messages, or in another order`);
  }
});
const messages = chats.reduce((sum, person) => sum + person.written, 0);
const own = hasOwn ? "and Node's own WebSocket" : "(this Node has no WebSocket of its own)";
const { version } = require("ws/package.json");
console.log(`ws ${version} ${own}: ${chats.length} connections, ${messages} messages, ${faults.length} faults`);
faults.forEach((fault) => console.error(fault));
process.exit(faults.length ? 1 : 0);
