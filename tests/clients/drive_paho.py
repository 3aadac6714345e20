"""A client built on paho-mqtt that follows a script and prints what happens, one JSON object per line.

The script is the only argument: {"port", "ca", "username", "password", "client_id", "level": 3|4, "clean", "will": [topic,
payload, qos, retain]|null, "cert": file|null, "key": file|null, "steps": [[name, ...], ...]}. Steps: ["subscribe", filter, qos], ["unsubscribe", filter],
["publish", topic, payload, qos, retain], ["hear", count], ["vanish"]. Without "vanish" it says DISCONNECT at the end.
"""

import json
import os
import queue
import sys

import paho.mqtt.client as mqtt

PATIENCE_S = 20
script = json.loads(sys.argv[1])
events = queue.Queue()


def say(**event):
    print(json.dumps(event), flush=True)


def wait(kind):
    while True:
        event = events.get(timeout=PATIENCE_S)
        if event[0] == kind:
            return event[1:]
        if event[0] == "lost":
            say(lost=event[1])
            os._exit(1)


heard = queue.Queue()
client = mqtt.Client(
    mqtt.CallbackAPIVersion.VERSION2,
    client_id=script.get("client_id", ""),
    clean_session=script.get("clean", True),
    protocol=script.get("level", 4),
    reconnect_on_failure=False,
)
if script["username"]:
    client.username_pw_set(script["username"], script["password"] or None)
client.tls_set(ca_certs=script["ca"], certfile=script.get("cert"), keyfile=script.get("key"))
if script.get("will"):
    topic, payload, qos, retain = script["will"]
    client.will_set(topic, payload, qos, retain)
client.on_connect = lambda _c, _u, flags, reason, _p: events.put(("connected", reason.value, flags.session_present))
client.on_disconnect = lambda _c, _u, _f, reason, _p: events.put(("lost", reason.value))
client.on_subscribe = lambda _c, _u, _m, reasons, _p: events.put(("subscribed", [it.value for it in reasons]))
client.on_unsubscribe = lambda _c, _u, _m, _r, _p: events.put(("unsubscribed",))
client.on_publish = lambda _c, _u, _m, _r, _p: events.put(("published",))
client.on_message = lambda _c, _u, it: heard.put(
    {"topic": it.topic, "payload": it.payload.decode(), "qos": it.qos, "retain": bool(it.retain)}
)

client.connect("localhost", script["port"], keepalive=60)
client.loop_start()
code, session_present = wait("connected")
say(connected=code, session_present=session_present)
if code != 0:
    os._exit(0)

for name, *arguments in script["steps"]:
    if name == "subscribe":
        client.subscribe(*arguments)
        say(granted=wait("subscribed")[0])
    elif name == "unsubscribe":
        client.unsubscribe(*arguments)
        wait("unsubscribed")
        say(unsubscribed=arguments[0])
    elif name == "publish":
        client.publish(*arguments)
        wait("published")
        say(published=arguments[0])
    elif name == "hear":
        for _ in range(arguments[0]):
            say(heard=heard.get(timeout=PATIENCE_S))
    elif name == "vanish":
        os._exit(0)
    else:
        raise ValueError(name)
client.disconnect()
client.loop_stop()
