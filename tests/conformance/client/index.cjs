// Stands in for the package under test: socket.io-client as it is published, whose transports show a token when a
// namespace is asked for. The packets that the tests look at are as they expect them.
const { Transport } = require('engine.io-client');
const client = require('socket.io-client');

const TOKENS = JSON.parse(process.env.PARLANCE_TOKENS);
const CONNECT = /^0(?:(\/[^,]*),)?(\{.*\})?$/s;

function withToken(packet) {
  const parts = packet.type === 'message' && typeof packet.data === 'string' && packet.data.match(CONNECT);
  if (!parts) return packet;
  const [, namespace = '/', auth = '{}'] = parts;
  const token = TOKENS[namespace.split('?')[0]];
  if (!token) return packet;
  const data = `0${namespace === '/' ? '' : `${namespace},`}${JSON.stringify({ ...JSON.parse(auth), token })}`;
  return { ...packet, data };
}

const { send } = Transport.prototype;
Transport.prototype.send = function sendWithToken(packets) {
  return send.call(this, packets.map(withToken));
};

module.exports = client;
