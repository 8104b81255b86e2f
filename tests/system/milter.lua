-- One conversation with the milter as another mail server would lead it; the socket is the variable `socket`.
-- miltertest(8) ends with a status other than 0 when error() is called.

local function must(condition, what)
    if not condition then
        io.stderr:write("failed: " .. what .. "\n")
        error(what)
    end
end

local function begin(conn, client, rcpt)
    must(mt.macro(conn, SMFIC_CONNECT, "{client_addr}", client, "{client_port}", "1025") == nil, "macros")
    must(mt.conninfo(conn, "unspecified", client) == nil, "connection")
    must(mt.helo(conn, "mx.shop.example") == nil, "helo")
    must(mt.macro(conn, SMFIC_MAIL, "i", "4XyZ1kLua") == nil, "queue id")
    must(mt.mailfrom(conn, "<news@shop.example>") == nil, "sender")
    must(mt.rcptto(conn, rcpt) == nil, "recipient")
    must(mt.data(conn) == nil, "DATA")
end

local function finish(conn, headers)
    for _, header in ipairs(headers) do
        must(mt.header(conn, header[1], header[2]) == nil, header[1])
    end
    must(mt.eoh(conn) == nil, "end of header")
    must(mt.bodystring(conn, "Good morning.\r\n") == nil, "body")
    must(mt.eom(conn) == nil, "end of message")
end

-- Mail that passes: forged fields go, ours come.
local conn = mt.connect(socket)
must(conn ~= nil, "connect")
must(mt.negotiate(conn, nil, nil, nil) == nil, "negotiate")
begin(conn, "127.0.0.11", "<shop@alias.example>")
must(mt.getreply(conn) == SMFIR_CONTINUE, "a recipient of ours")
finish(conn, {
    {"X-Mailrelay-Ingress", " v=1;dmarc=pass"},
    {"From", " The Shop <news@shop.example>"},
    {"Authentication-Results", " mx.elsewhere.example; dmarc=pass"},
    {"Authentication-Results", " mx.relay.example; dmarc=pass"},
})
must(mt.getreply(conn) == SMFIR_CONTINUE, "good mail passes")
must(mt.eom_check(conn, MT_HDRINSERT, "X-Mailrelay-Ingress"), "signed header")
must(mt.eom_check(conn, MT_HDRINSERT, "Authentication-Results"), "results")
must(mt.eom_check(conn, MT_HDRDELETE, "X-Mailrelay-Ingress"), "forged header gone")
must(mt.eom_check(conn, MT_HDRDELETE, "Authentication-Results"), "forged results gone")
mt.disconnect(conn)

-- A forger is refused in the session.
conn = mt.connect(socket)
must(mt.negotiate(conn, nil, nil, nil) == nil, "negotiate again")
begin(conn, "127.0.0.66", "<shop@alias.example>")
finish(conn, {{"From", " The Shop <news@shop.example>"}})
must(mt.getreply(conn) == SMFIR_REPLYCODE, "a forger is refused")
must(mt.eom_check(conn, MT_SMTPREPLY, "550", "5.7.26", "Rejected by the DMARC policy of shop.example"), "the words")
mt.disconnect(conn)

-- Mail to others is let go before it is told.
conn = mt.connect(socket)
must(mt.negotiate(conn, nil, nil, nil) == nil, "negotiate once more")
begin(conn, "127.0.0.66", "<friend@elsewhere.example>")
must(mt.getreply(conn) == SMFIR_ACCEPT, "mail to others")
mt.disconnect(conn)
