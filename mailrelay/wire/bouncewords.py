"""Words by which bounces for people are known, in the languages that mail systems speak."""

import re


def _any(*phrases: str) -> re.Pattern[str]:
    """Any of some phrases, in any case; letters before a phrase do not matter, as not all languages part words."""
    return re.compile("|".join(phrases), re.IGNORECASE)


# The From of mail software: by its address or by its name.
DAEMON = _any(
    r"(?<![\w.+-])(?:mailer[-_. ]?daemon|mail[-_.]?daemon|mdaemon|postmaster|mmdf)(?![\w+-])",
    r"(?<![\w.+-])microsoftexchange[0-9a-f]{16,40}(?![\w+-])",
    r"mail delivery (?:sub)?system",
    r"mail delivery service",
    r"mail administrator",
    r"mail router",
)

# Subjects of answers, whatever they answer.
ANSWER = re.compile(
    r"\s*+(?:re|aw|antw|sv|fwd?|wg|auto\w{0,12}|automat\w{1,12} \w{1,20}|out of office|ooo|abwesen\w{1,20})[^:]{0,20}:",
    re.IGNORECASE,
)
# Subjects of bounces.
TITLE = _any(
    r"undeliver",
    r"un-deliver",
    r"non-?deliver",
    r"nondeliver",
    r"not deliver",
    r"could(?: not|n.t) (?:be )?(?:deliver|send)",
    r"delivery (?:status|report|fail|error|problem|notification|unsuccessful|incomplete|delayed|has been)",
    r"deliver(?:y|ing)?(?: of)?(?: the| your)? (?:message|mail) fail",
    r"mail delivery (?:fail|error|system)",
    r"fail(?:ed|ure)? (?:to deliver|deliver|notice|delivery|mail)",
    r"failure notice",
    r"returned (?:mail|message|to sender)",
    r"message (?:delivery|status|undeliver|could not|not accepted)",
    r"mail (?:system error|error|could not|failure)",
    r"(?:mail|message) rejected",
    r"permanent delivery",
    r"ndn:",
    r"\bdsn\b",
    # German, Dutch
    r"unzustellbar",
    r"nicht (?:zugestellt|zustellbar|übermittelt)",
    r"zustell(?:ung|fehler|problem)",
    r"fehler(?:hafte)? (?:bei der |beim )?(?:zustell|e-?mail)",
    r"onbestelbaar",
    r"niet (?:bezorgd|afgeleverd)",
    # French, Spanish, Italian, Portuguese
    r"non (?:remis|distribu|délivr|délivré)",
    r"échec (?:de |d')?(?:la )?(?:remise|distribution|livraison|envoi)",
    r"no (?:se )?(?:ha )?(?:podido|puede|pudo) entregar",
    r"(?:no|correo) (?:entregado|devuelto)",
    r"(?:non|mancat[oa]) (?:recapit|consegn)",
    r"não (?:foi )?(?:entreg|possível entregar)",
    # Polish, Russian, Turkish
    r"nie(?:\s|)(?:dostarczon|doręczon)",
    r"не ?достав",
    r"недостав",
    r"ошибка (?:при )?достав",
    r"teslim edilemedi",
    # Chinese, Japanese, Korean
    r"退信",
    r"退回",
    r"无法(?:投递|送达|发送)",
    r"無法(?:投遞|傳遞|送達)",
    r"未(?:送达|投递|能送达)",
    r"配信(?:不能|できません|に失敗|エラー|未完了)",
    r"配送(?:不能|できません|に失敗|エラー)",
    r"(?:送信|お届け)(?:できません|に失敗|エラー)",
    r"返送",
    r"전송 ?실패",
    r"배달 ?실패",
)

# What texts say of mail that failed for good.
FAILED = _any(
    r"fail(?:ed|ure) permanent",
    r"permanent(?:ly)? (?:fatal )?(?:error|fail)",
    r"(?:un|not )able to (?:be )?deliver",
    r"(?:wasn|weren|hasn|couldn)[’']t (?:able to )?(?:be )?deliver",
    r"could not (?:be )?(?:deliver|sent|send)",
    r"cannot be deliver",
    r"(?:was|were|has) not (?:been )?deliver",
    r"did not (?:reach|receive)",
    r"deliver(?:y|ing)? (?:has )?(?:failed|to the following)",
    r"undeliverable",
    r"(?:has been|was) (?:automatically )?rejected",
    r"returned to (?:the )?sender",
    r"nicht (?:zugestellt|übermittelt|ausgeliefert|zustellbar)",
    r"unzustellbar",
    r"n['’](?:a|ont) (?:pas )?(?:pu|été)",
    r"impossible de (?:remettre|livrer|distribuer)",
    r"no se (?:ha podido|pudo|puede|ha entregado)",
    r"(?:impossibile|non è stato possibile) (?:consegn|recapit)",
    r"não (?:foi possível|pôde ser)",
    r"nie (?:można|może|mógł|udało)",
    r"не (?:может быть|удалось|было|был) ?(?:\w{1,20} )?достав",
    r"无法(?:投递|送达|发送|被送达)",
    r"未能(?:送达|投递)",
    r"退(?:信|回)",
    r"(?:配信|配送|送信|お届け)(?:することが)?(?:でき|に失敗|不能)",
)

# Of mail that still waits: in subjects, and in texts.
DELAYED_TITLE = _any(
    r"\(delay(?:ed)?\)",
    r"\bdelayed\b",
    r"delivery delay",
    r"^warning: (?:message|could not|mail)",
    r"still (?:being )?(?:retried|queued)",
    r"delivery incomplete",
    r"verzöger",
    r"retard",
    r"задерж",
    r"遅延",
    r"延迟",
    r"延遲",
)
NOT_YET = _any(
    r"no action is required on your part",
    r"do not need to (?:resend|send) ",
    r"(?:message|delivery|mail) will be (?:retried|re-?attempted)",
    r"not yet been (?:deliver|completed)",
    r"will (?:keep|continue) (?:trying|to try|to be (?:made|attempted))",
    r"this is (?:a|only a) warning",
    r"warning message only",
    r"has been delayed",
    r"will retry for",
    r"weiter(?:hin)? versucht",
    r"попытки (?:доставки )?будут продолж",
)
# Whatever was tried before.
FINAL = _any(
    r"permanent(?:ly)?\b",
    r"giv(?:en|ing) up",
    r"gave up",
    r"too long",
    r"expired",
    r"no further attempts",
    r"will not be retried",
    r"endgültig",
)
DELIVERED = _any(
    r"success(?:ful)?ly (?:deliver|relay|sent)",
    r"has been (?:successfully )?delivered",
    r"(?:was|were) delivered",
    r"erfolgreich zugestellt",
    r"доставлено успешно",
)

# The line between a text and the copy of a message behind it, as text and as octets. Without dashes in front nothing
# but a colon may end it, as texts speak of original messages all the time.
_COPY_WORDS = (
    r"(?:this is (?:a|the) (?:copy|headers?) of (?:the|your)|below (?:this|the next) line is (?:a copy|the)|"
    r"(?:the |your )?original (?:message|mail)|(?:the )?headers? of (?:the |your )?(?:original|message)|"
    r"(?:full )?message headers?|included is a copy|unsent message|returned (?:mail|message)|start of returned|"
    r"forwarded message|(?:a )?copy of (?:the|your) (?:original )?(?:message|mail)|message text follows|"
    r"urspr\S{1,4}ngliche nachricht|original-?nachricht|kopie der (?:original-?)?nachricht|message d'origine|"
    r"en-t\S{1,4}tes? (?:du|de))"
)
_COPY = (
    rf"^(?:[ \t]*+[-=*_]{{2,}}+[ \t]*+{_COPY_WORDS}[^\n]*+\n?+|[ \t]*+{_COPY_WORDS}[^\n:]{{0,60}}+:[ \t]*+\r?(?:\n|\Z)|"
    r"(?:this is a copy of|included is a copy of)[^\n]*+\n?+|(?=(?:return-path|received):[ \t]))"
)
COPY = re.compile(_COPY, re.IGNORECASE | re.MULTILINE)
COPY_OCTETS = re.compile(_COPY.encode("ascii"), re.IGNORECASE | re.MULTILINE)
# Empty lines and further notes before the copy.
COPY_NOTES = re.compile(rb"(?:[ \t\r]*+\n|-{2,}+[^\n]*+\n)*+")
# Notes that the copy is not all of the message.
CUT = re.compile(
    rb"truncated|only the first|including all the headers only|headers? only|characters long", re.IGNORECASE
)
