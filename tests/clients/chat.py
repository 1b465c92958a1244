"""Users who chat through Python's `websockets` with its default keepalive: a ping every 20 s, and 20 s for the pong.

    python chat.py ws://127.0.0.1:3000/ 150 < users.json

users.json is [{"id": 1, "token": "..."}, ...], where two neighbours chat with each other. The exit code is 1 if there
are faults, and each fault is a line on standard error: a connection that the library closed for want of a pong or
the server closed; a message or a reply that is missing or out of order.
"""

import asyncio
import collections
import json
import sys

import websockets
from websockets.asyncio.client import connect

# Requests go out as often as the library pings and shortly before it, so that pings meet requests in flight.
POLL_INTERVAL_SECONDS = 20


class User:
    def __init__(self, socket, id, peer):
        self.socket, self.id, self.peer = socket, id, peer
        self.next_id = 0
        self.waiting = collections.deque()
        self.received = []

    async def send_request(self, kind, params):
        """Sends a request, and returns a future of its reply."""
        self.next_id += 1
        reply = asyncio.get_running_loop().create_future()
        self.waiting.append((self.next_id, reply))
        await self.socket.send(json.dumps({"type": kind, "params": params, "id": self.next_id}))
        return reply

    async def receive_loop(self):
        async for text in self.socket:
            frame = json.loads(text)
            if "id" in frame:
                id, reply = self.waiting.popleft()
                assert frame["id"] == id, f"the reply to {frame['id']} came in the place of that to {id}"
                assert frame.get("success"), f"refused: {text}"
                reply.set_result(frame["params"])
            else:
                self.received.append(frame["params"]["message"])
        raise AssertionError("the connection ended")

    async def send_loop(self, until):
        nth = 0
        while asyncio.get_running_loop().time() < until:
            params = {"receiverId": self.peer, "content": f"{self.id}/{nth}", "clientMessageId": str(nth)}
            await (await self.send_request("privateMessage", params))
            nth += 1
            await asyncio.sleep(0.5)
        return nth

    async def poll_loop(self, began, until):
        loop = asyncio.get_running_loop()
        moment = began + POLL_INTERVAL_SECONDS - (self.id % 8 + 1) / 100
        while moment < until:
            await asyncio.sleep(moment - loop.time())
            moment += POLL_INTERVAL_SECONDS
            page = {"receiverId": self.peer, "limit": 100}
            replies = [await self.send_request("listLastMessage", {}) for _ in range(5)]
            replies += [await self.send_request("getlatestMessageDialog", page) for _ in range(15)]
            await asyncio.gather(*replies)


async def chat(url, seconds, user, peer):
    """Chats for a while, and returns the number of sent messages and the received ones."""
    headers = {"Authorization": f"Bearer {user['token']}"}
    async with connect(url, additional_headers=headers) as socket:
        me = User(socket, user["id"], peer["id"])
        receiving = asyncio.create_task(me.receive_loop())
        began = asyncio.get_running_loop().time()
        until = began + seconds
        sending = asyncio.gather(me.send_loop(until), me.poll_loop(began, until))
        # A connection that ends leaves requests without a reply, so the first task to end decides.
        await asyncio.wait([receiving, sending], return_when=asyncio.FIRST_COMPLETED)
        if receiving.done():
            sending.cancel()
            await asyncio.gather(sending, return_exceptions=True)
            receiving.result()
        sent, _ = sending.result()
        # The last messages of the other user may still be in flight.
        await asyncio.sleep(5)
        if receiving.done():
            receiving.result()
        receiving.cancel()
        return sent, me.received


async def main():
    url, seconds = sys.argv[1], float(sys.argv[2])
    users = json.load(sys.stdin)
    pairs = [(user, users[nth ^ 1]) for nth, user in enumerate(users)]
    ends = await asyncio.gather(*(chat(url, seconds, *pair) for pair in pairs), return_exceptions=True)
    faults = [f"{user['id']}: {end!r}" for (user, _), end in zip(pairs, ends) if isinstance(end, BaseException)]
    for nth, ((user, peer), end) in enumerate(zip(pairs, ends)):
        other = ends[nth ^ 1]
        if isinstance(end, BaseException) or isinstance(other, BaseException):
            continue
        wanted = [f"{peer['id']}/{message}" for message in range(other[0])]
        if end[1] != wanted:
            faults.append(f"{user['id']} received {len(end[1])} messages of {len(wanted)}, or in another order")
    messages = sum(end[0] for end in ends if not isinstance(end, BaseException))
    print(f"websockets {websockets.__version__}: {len(users)} connections, {messages} messages, {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


asyncio.run(main())
