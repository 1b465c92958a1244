// Users who chat through Node: half of them with `ws`, half with Node's built-in WebSocket where it has one.
//
//   node chat.mjs ws://127.0.0.1:3000/ 150 < users.json
//
// users.json is [{"id": 1, "token": "..."}, ...], where two neighbours chat with each other. The exit code is 1 if
// there are faults, and each fault is a line on standard error: a connection that ended, a ping of ws without its pong
// before the next one, no pings of the server, a message or a reply that is missing or out of order.

import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { setTimeout as sleep } from "node:timers/promises";

// `require` looks where NODE_PATH leads, which `import` does not.
const require = createRequire(import.meta.url);
const WebSocketOfWs = require("ws");
const [url, seconds] = [process.argv[2], Number(process.argv[3])];
const users = JSON.parse(readFileSync(0, "utf8"));
const faults = [];
// Requests go out as often as clients usually ping, so that pings meet requests.
const POLL_INTERVAL_MS = 20_000;

class User {
  constructor(me, peer, usesWs) {
    Object.assign(this, { me, peer, usesWs, waiting: [], received: [], sent: 0, nextId: 0, isOver: false });
  }

  fault(text) {
    if (!this.isOver) faults.push(`${this.me.id}: ${text}`);
  }

  open() {
    const socket = this.usesWs
      ? new WebSocketOfWs(url, { headers: { Authorization: `Bearer ${this.me.token}` } })
      : new WebSocket(url, ["auth", this.me.token]);
    this.socket = socket;
    socket.onmessage = (event) => this.receive(JSON.parse(event.data));
    socket.onclose = (event) => this.fault(`closed with ${event.code} ${event.reason}`);
    socket.onerror = (event) => this.fault(`failed: ${event.message}`);
    if (this.usesWs) {
      this.pings = 0;
      socket.on("ping", () => this.pings++);
      socket.on("pong", (payload) => (this.pong = String(payload)));
    }
    return new Promise((resolve) => (socket.onopen = resolve));
  }

  receive(frame) {
    if (frame.id === undefined) return this.received.push(frame.params.message);
    const { id, resolve } = this.waiting.shift();
    if (frame.id !== id) this.fault(`the reply to ${frame.id} came in the place of that to ${id}`);
    if (!frame.success) this.fault(`refused: ${JSON.stringify(frame)}`);
    resolve(frame);
  }

  sendRequest(type, params) {
    const id = ++this.nextId;
    this.socket.send(JSON.stringify({ type, params, id }));
    return new Promise((resolve) => this.waiting.push({ id, resolve }));
  }

  async sendLoop(until) {
    while (Date.now() < until) {
      const content = `${this.me.id}/${this.sent}`;
      await this.sendRequest("privateMessage", { receiverId: this.peer.id, content, clientMessageId: content });
      this.sent++;
      await sleep(500);
    }
  }

  async pollLoop(until) {
    for (let nth = 0; Date.now() + POLL_INTERVAL_MS < until; nth++) {
      await sleep(POLL_INTERVAL_MS);
      if (this.usesWs && nth > 0 && this.pong !== String(nth - 1)) this.fault(`no pong for ping ${nth - 1}`);
      const page = { receiverId: this.peer.id, limit: 50 };
      const replies = [];
      for (let i = 0; i < 5; i++) {
        replies.push(this.sendRequest("listLastMessage", {}), this.sendRequest("getlatestMessageDialog", page));
      }
      if (this.usesWs) this.socket.ping(String(nth));
      await Promise.all(replies);
    }
  }

  async chat() {
    await this.open();
    const until = Date.now() + seconds * 1000;
    await Promise.all([this.sendLoop(until), this.pollLoop(until)]);
    // The last messages of the other user may still be in flight.
    await sleep(5_000);
    if (this.usesWs && this.pings < Math.floor(seconds / 30)) this.fault(`${this.pings} pings of the server`);
    this.isOver = true;
    this.socket.close();
  }
}

const hasBuiltIn = typeof WebSocket === "function";
const chats = users.map((me, nth) => new User(me, users[nth ^ 1], !hasBuiltIn || nth % 4 < 2));
// A connection that ended leaves requests without a reply.
const late = sleep((seconds + 30) * 1000, null, { ref: false }).then(() => faults.push("a user still waits for a reply"));
await Promise.race([Promise.all(chats.map((user) => user.chat())), late]);
chats.forEach((user, nth) => {
  const peer = chats[nth ^ 1];
  const wanted = Array.from({ length: peer.sent }, (_, message) => `${peer.me.id}/${message}`);
  if (JSON.stringify(user.received) !== JSON.stringify(wanted)) {
    faults.push(`${user.me.id} received ${user.received.length} of ${wanted.length} messages, or in another order`);
  }
});
const messages = chats.reduce((sum, user) => sum + user.sent, 0);
const builtIn = hasBuiltIn ? "and Node's built-in WebSocket" : "(this Node has no built-in WebSocket)";
const { version } = require("ws/package.json");
console.log(`ws ${version} ${builtIn}: ${chats.length} connections, ${messages} messages, ${faults.length} faults`);
faults.forEach((fault) => console.error(fault));
process.exit(faults.length ? 1 : 0);
