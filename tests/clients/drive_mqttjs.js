// A client built on mqtt.js that follows the same script as drive_paho.py and prints the same lines.
"use strict";

const fs = require("fs");
const mqtt = require("mqtt");

const PATIENCE_MS = 20000;
const script = JSON.parse(process.argv[2]);
const say = (event) => console.log(JSON.stringify(event));
const heard = [];
let wake = () => {};

setTimeout(() => {
  say({ lost: "no patience left" });
  process.exit(1);
}, PATIENCE_MS).unref();

const options = {
  host: "localhost",
  port: script.port,
  protocol: "mqtts",
  ca: fs.readFileSync(script.ca),
  username: script.username,
  password: script.password,
  clientId: script.client_id || undefined,
  clean: script.clean !== false,
  protocolVersion: script.level || 4,
  protocolId: script.level === 3 ? "MQIsdp" : "MQTT",
  reconnectPeriod: 0,
};
if (script.will) {
  const [topic, payload, qos, retain] = script.will;
  options.will = { topic, payload, qos, retain };
}

const client = mqtt.connect(options);
client.on("message", (topic, payload, packet) => {
  heard.push({ topic, payload: payload.toString(), qos: packet.qos, retain: packet.retain });
  wake();
});
client.on("error", (error) => {
  say({ connected: error.code });
  process.exit(0);
});
client.on("connect", async (connack) => {
  say({ connected: 0, session_present: connack.sessionPresent });
  for (const [name, ...rest] of script.steps) {
    if (name === "subscribe") {
      const granted = await client.subscribeAsync(rest[0], { qos: rest[1] }).catch(() => [{ qos: 128 }]);
      say({ granted: granted.map((it) => it.qos) });
    } else if (name === "unsubscribe") {
      await client.unsubscribeAsync(rest[0]);
      say({ unsubscribed: rest[0] });
    } else if (name === "publish") {
      await client.publishAsync(rest[0], rest[1], { qos: rest[2], retain: rest[3] });
      say({ published: rest[0] });
    } else if (name === "hear") {
      for (let n = 0; n < rest[0]; n += 1) {
        while (heard.length === 0) await new Promise((resolve) => (wake = resolve));
        say({ heard: heard.shift() });
      }
    } else if (name === "vanish") {
      process.exit(0);
    }
  }
  await client.endAsync();
});
