// Clients that others wrote, in Node: prints one JSON line for what each saw.
// node clients.mjs URL TOKEN INBOX SECRET   (npm: eventsource, reconnecting-websocket, standardwebhooks, ws)
import { createRequire } from 'node:module'
const require = createRequire(process.cwd() + '/')
const { EventSource } = require('eventsource')
const ReconnectingWebSocket = require('reconnecting-websocket')
const { Webhook } = require('standardwebhooks')

const [url, token, inbox, secret] = process.argv.slice(2)
const headers = { Authorization: `Bearer ${token}` }
const say = (what, more) => console.log(JSON.stringify({ what, ...more }))
const ticket = async () => (await (await fetch(`${url}/v1/tickets`, { method: 'POST', headers })).json()).ticket

const source = new EventSource(`${url}/v1/inboxes/${inbox}/stream?ticket=${await ticket()}`)
source.onopen = () => say('stream open')
source.addEventListener('signal', (event) => say('stream signal', { subject: JSON.parse(event.data).subject, id: event.lastEventId }))

// A browser would give its ticket as a subprotocol; this library asks for its protocols once, and a ticket opens one connection.
const Plain = require('ws')
class WithToken extends Plain { constructor (to, protocols) { super(to, protocols, { headers }) } }
let opened = 0
const socket = new ReconnectingWebSocket(`${url.replace('http', 'ws')}/v1/ws`, 'restante.v1',
  { WebSocket: WithToken, minReconnectionDelay: 100, maxReconnectionDelay: 200 })
socket.onopen = () => { opened += 1; socket.send(JSON.stringify({ type: 'subscribe', streams: [{ inbox }] })) }
socket.onmessage = (event) => {
  const frame = JSON.parse(event.data)
  if (frame.type === 'subscribed') say('socket open', { times: opened })
  if (frame.type === 'signal') say('socket signal', { subject: frame.subject })
}

process.stdin.on('data', (data) => {
  const { headers: given, body } = JSON.parse(data)
  try { say('webhook', { type: new Webhook(secret).verify(body, given).type }) } catch (error) { say('webhook', { error: String(error) }) }
})
