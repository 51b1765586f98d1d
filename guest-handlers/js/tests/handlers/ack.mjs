// Acknowledgements with several arguments, with bytes, with none, and absent ones.
export async function onEventAck(_, name, args) {
  if (name === 'silent') return;
  if (name === 'wrong') return 'not an array';
  return args;
}
