"""People who chat with Python's `websockets`, its keepalive as it comes: a ping every 20 s, and 20 s for the pong.

    python chat.py ws://127.0.0.1:3000/ 150 < people.json

people.json: [{"id": 1, "token": "..."}, ...], two by two. Ends with 1 and a sentence for each fault: a connection that
ended, by the library for want of a pong or by the server; a message or a reply that is missing or out of order.
"""

import asyncio
import collections
import json
import sys

import websockets
from websockets.asyncio.client import connect

# As often as the library pings, and a moment before it does, so that pings meet requests that are under way.
POLL_SECONDS = 20


class Person:
    def __init__(self, socket, id, peer):
        self.socket, self.id, self.peer = socket, id, peer
        self.next_id = 0
        self.waiting = collections.deque()
        self.received = []

    async def ask(self, kind, params):
        """Sends a request; a future of its reply."""
        self.next_id += 1
        reply = asyncio.get_running_loop().create_future()
        self.waiting.append((self.next_id, reply))
        await self.socket.send(json.dumps({"type": kind, "params": params, "id": self.next_id}))
        return reply

    async def listen(self):
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

    async def write(self, until):
        nth = 0
        while asyncio.get_running_loop().time() < until:
            params = {"receiverId": self.peer, "content": f"{self.id}/{nth}", "clientMessageId": str(nth)}
            await (await self.ask("privateMessage", params))
            nth += 1
            await asyncio.sleep(0.5)
        return nth

    async def poll(self, began, until):
        loop = asyncio.get_running_loop()
        moment = began + POLL_SECONDS - (self.id % 8 + 1) / 100
        while moment < until:
            await asyncio.sleep(moment - loop.time())
            moment += POLL_SECONDS
            page = {"receiverId": self.peer, "limit": 100}
            asked = [await self.ask("listLastMessage", {}) for _ in range(5)]
            asked += [await self.ask("getlatestMessageDialog", page) for _ in range(15)]
            await asyncio.gather(*asked)


async def chat(url, seconds, person, peer):
    """Talks for a while; the messages that were written and those that were received."""
    headers = {"Authorization": f"Bearer {person['token']}"}
    async with connect(url, additional_headers=headers) as socket:
        me = Person(socket, person["id"], peer["id"])
        listening = asyncio.create_task(me.listen())
        began = asyncio.get_running_loop().time()
        until = began + seconds
        talking = asyncio.gather(me.write(until), me.poll(began, until))
        # A connection that ends leaves requests without a reply: whoever is first tells.
        await asyncio.wait([listening, talking], return_when=asyncio.FIRST_COMPLETED)
        if listening.done():
            talking.cancel()
            await asyncio.gather(talking, return_exceptions=True)
            listening.result()
        written, _ = talking.result()
        # What the other one wrote last may be on its way.
        await asyncio.sleep(5)
        if listening.done():
            listening.result()
        listening.cancel()
        return written, me.received


async def main():
    url, seconds = sys.argv[1], float(sys.argv[2])
    people = json.load(sys.stdin)
    pairs = [(person, people[nth ^ 1]) for nth, person in enumerate(people)]
    ends = await asyncio.gather(*(chat(url, seconds, *pair) for pair in pairs), return_exceptions=True)
    faults = [f"{person['id']}: {end!r}" for (person, _), end in zip(pairs, ends) if isinstance(end, BaseException)]
    for nth, ((person, peer), end) in enumerate(zip(pairs, ends)):
        other = ends[nth ^ 1]
        if isinstance(end, BaseException) or isinstance(other, BaseException):
            continue
        wanted = [f"{peer['id']}/{message}" for message in range(other[0])]
        if end[1] != wanted:
            faults.append(f"{person['id']} received {len(end[1])} messages of {len(wanted)}, or in another order")
    messages = sum(end[0] for end in ends if not isinstance(end, BaseException))
    print(f"websockets {websockets.__version__}: {len(people)} connections, {messages} messages, {len(faults)} faults")
    for fault in faults:
        print(fault, file=sys.stderr)
    sys.exit(1 if faults else 0)


asyncio.run(main())
