// The one file that the tests take from the package's inside.
const { dirname, join } = require('node:path');

module.exports = require(join(dirname(require.resolve('socket.io-client/package.json')), 'build/cjs/url.js'));
