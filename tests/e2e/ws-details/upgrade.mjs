// Upgrades from polling to a WebSocket.
import { OPCODE, closing } from '../lib/wire.mjs';
import { Polling, summaryOf } from '../lib/sessions.mjs';

/** Sends these frames over the WebSocket, and observes the answers and what happens to the polling session. */
const probe = (...texts) => async (server) => {
  const session = await Polling.join(server);
  const socket = await session.upgrade();
  socket.text(...texts);
  return [...await socket.restBelow(), ...await session.rest()];
};

/** A session that was upgraded to a WebSocket. */
async function upgraded(server) {
  const session = await Polling.join(server);
  const socket = await session.upgrade();
  socket.text('2probe');
  await socket.frame('3probe');
  socket.text('5');
  await socket.rest();
  return { session, socket };
}

export default {
  'as the protocol has it': async (server) => {
    const session = await Polling.join(server);
    const poll = await session.begin('GET');
    const socket = await session.upgrade();
    socket.text('2probe');
    const answered = await socket.frame('3probe');
    const released = summaryOf(await poll.answer());
    socket.text('5');
    return [summaryOf(socket.answer), ...answered, released, ...await socket.rest()];
  },
  'an event right behind the upgrade': async (server) => {
    const session = await Polling.join(server);
    const socket = await session.upgrade();
    socket.text('2probe');
    await socket.frame('3probe');
    socket.text('5', '42["message",1]');
    return socket.rest();
  },
  'a probe and the upgrade at once': async (server) => {
    const session = await Polling.join(server);
    const socket = await session.upgrade();
    socket.text('2probe', '5');
    return socket.rest();
  },
  'another word in the ping': probe('2other'),
  'a ping without a word': probe('2'),
  'a pong instead of a ping': probe('3probe'),
  'an upgrade without a probe': probe('5'),
  'an event instead of a probe': probe('42["message",1]'),
  'an event between probe and upgrade': probe('2probe', '42["message",1]'),
  'the probe twice': probe('2probe', '2probe'),
  'CLOSE instead of a probe': probe('1'),
  'nothing that is a packet': probe('x'),
  'an empty frame': probe(''),
  'bytes instead of a probe': async (server) => {
    const session = await Polling.join(server);
    const socket = await session.upgrade();
    socket.send(OPCODE.binary, Buffer.from('2probe'));
    return [...await socket.restBelow(), ...await session.rest()];
  },
  'closed before the probe': async (server) => {
    const session = await Polling.join(server);
    const socket = await session.upgrade();
    socket.send(OPCODE.close, closing(1000));
    return [...await socket.end(), ...await session.rest()];
  },
  'cut after the probe': async (server) => {
    const session = await Polling.join(server);
    const socket = await session.upgrade();
    socket.text('2probe');
    const answered = await socket.frame('3probe');
    socket.wire.close();
    return [...answered, ...await session.rest()];
  },
  'two at once': async (server) => {
    const session = await Polling.join(server);
    const first = await session.upgrade();
    const second = await session.upgrade();
    const turnedAway = [summaryOf(second.answer), ...second.answer?.status === 101 ? await second.end() : []];
    first.text('2probe');
    const answered = await first.frame('3probe');
    first.text('5');
    return [...turnedAway, ...answered, ...await first.rest()];
  },
  'another after the upgrade': async (server) => {
    const { session, socket } = await upgraded(server);
    const second = await session.upgrade();
    const turnedAway = [summaryOf(second.answer), ...second.answer?.status === 101 ? await second.end() : []];
    return [...turnedAway, ...await socket.rest()];
  },
  'a poll after the upgrade': async (server) => {
    const { session, socket } = await upgraded(server);
    return [summaryOf(await session.poll()), ...await socket.rest()];
  },
  'a body after the upgrade': async (server) => {
    const { session, socket } = await upgraded(server);
    return [summaryOf(await session.post('42["message",1]')), ...await socket.rest()];
  },
  'an upgrade packet after the upgrade': async (server) => {
    const { socket } = await upgraded(server);
    socket.text('5');
    return socket.rest();
  },
};
