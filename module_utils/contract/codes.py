"""Every code that a finding can have: stable, explained, in English and Korean. `docs/findings.md` is made from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Literal

from .classes import dataclass
from .model import Finding, Kind, Severity

CRITICAL, HIGH, MEDIUM, LOW = Severity.CRITICAL, Severity.HIGH, Severity.MEDIUM, Severity.LOW


@dataclass(frozen=True)
class Code:
    """What a code stands for. Sentences have ``{names}`` of a finding's values, ``{expected}``, ``{actual}`` and
    ``{subject}``. ``alike``: findings of one clause in several layers are one finding, at the layer that wins."""

    code: str
    item: str
    severity: Severity
    title: Mapping[str, str]
    message: Mapping[str, str]
    remedy: Mapping[str, str]
    kind: Kind = Kind.VIOLATION
    alike: bool = False


CODES: dict[str, Code] = {}


def _(code: str, item: str, severity: Severity, title: tuple[str, str], message: tuple[str, str],
      remedy: tuple[str, str], kind: Kind = Kind.VIOLATION, alike: bool = False) -> None:
    def both(texts: tuple[str, str]) -> dict[str, str]:
        return {"en": texts[0], "ko": texts[1]}

    CODES[code] = Code(code, item, severity, both(title), both(message), both(remedy), kind, alike)


# --- 1. paths (seed 000 B.2, seed 001 3-1) ----------------------------------------------------------

_("PATH-01", "paths", CRITICAL, ("The app's default of a path differs", "앱의 경로 기본값 불일치"),
  ("{name} resolves to {actual} when nothing is set; the contract says {expected}.",
   "{name}의 기본값은 {actual}이며, 계약은 {expected}이다."),
  ("Make {name} fall back to {expected}.", "{name}의 기본값을 {expected}(으)로 수정한다."), alike=True)
_("PATH-02", "paths", CRITICAL, ("The app does not read the variable of a path", "앱이 경로 환경 변수를 읽지 않음"),
  ("Nothing in the app's source resolves a path by {variable}.", "앱 소스가 {variable}(으)로 경로를 해석하지 않는다."),
  ("Resolve the folder by {variable}, with the default {expected}.", "{variable}(으)로 경로를 해석하고 기본값을 {expected}(으)로 한다."))
_("PATH-03", "paths", LOW, (".env.example gives a path another default", ".env.example 경로 기본값 불일치"),
  ("{variable} is {actual} in {subject}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Write {variable}={expected}.", "{variable}={expected}(으)로 수정한다."), alike=True)
_("PATH-04", "paths", HIGH, ("The image's fallback of a path differs", "이미지 ENV 경로 불일치"),
  ("{subject} sets {variable} to {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable}={expected} in the Dockerfile.", "Dockerfile에서 {variable}={expected}(으)로 설정한다."), alike=True)
_("PATH-05", "paths", HIGH, ("The image lacks a folder", "이미지에 디렉토리 없음"),
  ("{subject} does not make {expected}, over which a volume is mounted.", "{subject}에 볼륨이 마운트될 {expected} 디렉토리가 없다."),
  ("Add `mkdir -p {expected}` to the Dockerfile, owned by the app's user.", "Dockerfile에 앱 사용자 소유로 `mkdir -p {expected}`를 추가한다."))
_("PATH-06", "paths", CRITICAL, ("A path's operating value differs", "경로 운영값 불일치"),
  ("{subject} gives {variable} the value {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable} to {expected}.", "{variable} 값을 {expected}(으)로 수정한다."), alike=True)
_("PATH-07", "paths", CRITICAL, ("No volume is mounted where a path is", "경로에 볼륨 마운트 없음"),
  ("No volume of container {container} covers {expected}, so what is written there is refused or lost.",
   "{container} 컨테이너의 어떤 볼륨도 {expected}를 포함하지 않아 쓰기가 거부되거나 데이터가 손실된다."),
  ("Mount its volume at {target}.", "{target}에 볼륨을 마운트한다."))
_("PATH-08", "paths", MEDIUM, ("The function of a path is missing", "경로 함수 없음"),
  ("The app has no function {name}; the contract names it for {expected}.", "앱에 {name} 함수가 없다 (계약 경로: {expected})."),
  ("Give the function back its name, or change the contract with it.", "함수 이름을 되돌리거나 계약을 함께 수정한다."))

# --- 2. environment ---------------------------------------------------------------------------------

_("ENV-01", "environment", CRITICAL, ("A variable is missing", "환경 변수 누락"),
  ("{source} does not give {variable} to container {container}.", "{source}이(가) {container} 컨테이너에 {variable}을(를) 주지 않는다."),
  ("Add {variable} to {source}.", "{source}에 {variable}을(를) 추가한다."))
_("ENV-02", "environment", HIGH, ("A variable has another value", "환경 변수 값 불일치"),
  ("{subject} gives {variable} the value {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable} to {expected}.", "{variable} 값을 {expected}(으)로 수정한다."), alike=True)
_("ENV-03", "environment", HIGH, ("A variable comes from another source", "환경 변수 출처 불일치"),
  ("Container {container} takes {variable} from {actual}; the contract says {expected}.",
   "{container} 컨테이너의 {variable} 출처는 {actual}이며, 계약은 {expected}이다."),
  ("Take {variable} from {expected}.", "{variable}을(를) {expected}에서 가져오도록 수정한다."))
_("ENV-04", "environment", LOW, ("A variable that nobody declared", "계약에 없는 환경 변수"),
  ("{subject} gives container {container} the variable {variable}, which the contract does not know.",
   "{subject}이(가) 계약에 없는 {variable}을(를) {container} 컨테이너에 준다."),
  ("Remove {variable}, or add it to the contract.", "{variable}을(를) 제거하거나 계약에 추가한다."), kind=Kind.DRIFT)
_("ENV-05", "environment", MEDIUM, ("The app reads a variable that nobody declared", "앱이 계약에 없는 변수를 읽음"),
  ("The app reads {variable}, which the contract does not know, so no deployment gives it.",
   "앱이 계약에 없는 {variable}을(를) 읽는다."),
  ("Add {variable} to the contract, or do not read it.", "{variable}을(를) 계약에 추가하거나 읽지 않도록 한다."))
_("ENV-06", "environment", MEDIUM, ("The app does not read a variable", "앱이 변수를 읽지 않음"),
  ("Nothing in the app's source reads {variable}.", "앱 소스가 {variable}을(를) 읽지 않는다."),
  ("Read {variable} again, or take it out of the contract.", "{variable}을(를) 다시 읽거나 계약에서 제거한다."))
_("ENV-07", "environment", LOW, (".env.example lacks a variable", ".env.example에 변수 없음"),
  ("The app reads {variable}, and {subject} does not list it.", "앱이 {variable}을(를) 읽지만 {subject}에 없다."),
  ("Add {variable} to {subject}.", "{subject}에 {variable}을(를) 추가한다."))
_("ENV-08", "environment", LOW, (".env.example lists what the app does not read", ".env.example에 불필요한 변수"),
  ("{subject} lists {variable}, and nothing in the source reads it.", "{subject}의 {variable}을(를) 앱이 읽지 않는다."),
  ("Remove {variable} from {subject}, or read it.", "{subject}에서 {variable}을(를) 제거하거나 앱에서 읽는다."))
_("ENV-09", "environment", HIGH, ("A secret has a value where everybody can read it", "평문 비밀 값"),
  ("{subject} has a value for {variable}, which is a secret.", "{subject}에 비밀인 {variable} 값이 들어 있다."),
  ("Leave the value of {variable} empty, and change the secret: it is known now.",
   "{variable} 값을 비우고, 이미 노출된 비밀은 교체한다."))
_("ENV-10", "environment", LOW, (".env.example and the app differ in a default", ".env.example과 앱의 기본값 불일치"),
  ("{variable} is {actual} in {subject}, and the app falls back to {expected}.",
   "{subject}의 {variable} 값은 {actual}이고 앱의 기본값은 {expected}이다."),
  ("Write {variable}={expected}.", "{variable}={expected}(으)로 수정한다."))
_("ENV-11", "environment", MEDIUM, ("The image's fallback of a variable differs", "이미지 ENV 값 불일치"),
  ("{subject} sets {variable} to {actual}; the contract says {expected}.", "{subject}의 {variable} 값은 {actual}이며, 계약은 {expected}이다."),
  ("Set {variable}={expected} in the Dockerfile.", "Dockerfile에서 {variable}={expected}(으)로 설정한다."), alike=True)
_("ENV-12", "environment", MEDIUM, ("A variable is given twice", "환경 변수 중복"),
  ("Container {container} gets {variable} as {actual} from {subject}, and {expected} wins.",
   "{container} 컨테이너의 {variable}이(가) {subject}에서 {actual}(으)로 주어지지만 {expected}이(가) 우선한다."),
  ("Give {variable} once, or the same value in both places.", "{variable}을(를) 한 곳에서만 주거나 같은 값으로 맞춘다."))
_("ENV-13", "environment", CRITICAL, ("A value is no text", "문자열이 아닌 값"),
  ("{subject} gives {variable} the {type} {actual}; Kubernetes takes text alone and refuses the object.",
   "{subject}의 {variable} 값 {actual}은(는) {type}이며, Kubernetes는 문자열만 허용한다."),
  ("Quote it: \"{actual}\".", "따옴표로 감싼다: \"{actual}\"."))
_("ENV-14", "environment", HIGH, ("A variable that the app needs may be missing", "앱 필수 변수 보장 안 됨"),
  ("The app has no default for {variable}, and {subject} does not give it for certain.",
   "앱에 {variable} 기본값이 없고, {subject}이(가) 이를 보장하지 않는다."),
  ("Give {variable} from a source that is not optional.", "optional이 아닌 출처에서 {variable}을(를) 준다."))
_("ENV-15", "environment", LOW, ("The app's default of a variable differs", "앱의 환경 변수 기본값 불일치"),
  ("The app falls back to {actual} for {variable}; the contract says {expected}.",
   "앱의 {variable} 기본값은 {actual}이며, 계약은 {expected}이다."),
  ("Make {variable} fall back to {expected}.", "{variable}의 기본값을 {expected}(으)로 수정한다."), alike=True)
_("ENV-16", "environment", HIGH, ("A ConfigMap is not taken whole", "ConfigMap 참조 누락"),
  ("Container {container} takes nothing from {source}.", "{container} 컨테이너가 {source}을(를) 참조하지 않는다."),
  ("Add an envFrom of {source}.", "{source}의 envFrom을 추가한다."))

# --- 3. ports ---------------------------------------------------------------------------------------

_("PORT-01", "ports", HIGH, ("The app listens on another port", "앱 포트 불일치"),
  ("The app listens on {actual} when nothing is set; the contract says {expected}.",
   "앱의 기본 포트는 {actual}이며, 계약은 {expected}이다."),
  ("Make the app listen on {expected}.", "앱의 포트를 {expected}(으)로 수정한다."), alike=True)
_("PORT-02", "ports", LOW, ("The image exposes another port", "EXPOSE 불일치"),
  ("{subject} exposes {actual}; the contract says {expected}.", "{subject}의 EXPOSE는 {actual}이며, 계약은 {expected}이다."),
  ("Write `EXPOSE {expected}`.", "`EXPOSE {expected}`로 수정한다."))
_("PORT-03", "ports", HIGH, ("A container's port differs", "containerPort 불일치"),
  ("Container {container} has {actual} as its ports; the contract says {name} {expected}.",
   "{container} 컨테이너의 포트는 {actual}이며, 계약은 {name} {expected}이다."),
  ("Set containerPort {expected} under the name {name}.", "이름 {name}의 containerPort를 {expected}(으)로 설정한다."))
_("PORT-04", "ports", CRITICAL, ("A Service is missing", "Service 없음"),
  ("There is no Service {name}.", "Service {name}이(가) 없다."),
  ("Add Service {name} with port {expected}.", "포트 {expected}의 Service {name}을(를) 추가한다."))
_("PORT-05", "ports", CRITICAL, ("A Service has another port", "Service 포트 불일치"),
  ("{subject} offers {actual}; the contract says {expected}.", "{subject}의 포트는 {actual}이며, 계약은 {expected}이다."),
  ("Set port {expected}.", "port를 {expected}(으)로 설정한다."))
_("PORT-06", "ports", CRITICAL, ("A Service leads to another port", "Service targetPort 불일치"),
  ("{subject} sends port {port} to {actual}; the contract says {expected}.", "{subject}의 포트 {port}은(는) {actual}(으)로 향하며, 계약은 {expected}이다."),
  ("Set targetPort to {expected}.", "targetPort를 {expected}(으)로 설정한다."))
_("PORT-07", "ports", HIGH, ("A probe asks something else", "프로브 불일치"),
  ("The {probe} of container {container} asks {actual}; the contract says {expected}.",
   "{container} 컨테이너의 {probe}는 {actual}을(를) 확인하며, 계약은 {expected}이다."),
  ("Let the {probe} ask {expected}.", "{probe}를 {expected}(으)로 수정한다."))
_("PORT-08", "ports", HIGH, ("A probe is missing", "프로브 없음"),
  ("Container {container} has no {probe}.", "{container} 컨테이너에 {probe}가 없다."),
  ("Add a {probe} that asks {expected}.", "{expected}을(를) 확인하는 {probe}를 추가한다."))
_("PORT-09", "ports", HIGH, ("The app has no such endpoint", "앱 엔드포인트 없음"),
  ("Nothing in the app's source answers to {expected}.", "앱 소스에 {expected} 엔드포인트가 없다."),
  ("Add the endpoint {expected}.", "{expected} 엔드포인트를 추가한다."))
_("PORT-10", "ports", HIGH, ("A Service is not headless", "Headless Service 아님"),
  ("{subject} has clusterIP {actual}; the contract says {expected}.", "{subject}의 clusterIP는 {actual}이며, 계약은 {expected}이다."),
  ("Set clusterIP to {expected}.", "clusterIP를 {expected}(으)로 설정한다."))
_("PORT-11", "ports", MEDIUM, ("A port has another protocol", "프로토콜 불일치"),
  ("{subject} has {actual} for port {port}; the contract says {expected}.", "{subject}의 포트 {port} 프로토콜은 {actual}이며, 계약은 {expected}이다."),
  ("Set protocol to {expected}.", "protocol을 {expected}(으)로 설정한다."))

_("PORT-12", "ports", CRITICAL, ("A Service leads to other pods", "Service 대상 Pod 불일치"),
  ("{subject} selects {actual}; the contract says {expected} alone.", "{subject}이(가) {actual}을(를) 선택하며, 계약은 {expected}뿐이다."),
  ("Make the selector fit the pods of {expected} and no others.", "셀렉터가 {expected}의 Pod만 선택하도록 수정한다."))

# --- 4. volumes -------------------------------------------------------------------------------------

_("VOL-01", "volumes", CRITICAL, ("A mount is missing", "volumeMount 없음"),
  ("Container {container} mounts nothing at {expected}.", "{container} 컨테이너가 {expected}에 아무것도 마운트하지 않는다."),
  ("Mount {source} at {expected}.", "{source}을(를) {expected}에 마운트한다."))
_("VOL-02", "volumes", CRITICAL, ("Something else is mounted", "볼륨 소스 불일치"),
  ("Container {container} mounts {actual} at {target}; the contract says {expected}.",
   "{container} 컨테이너는 {target}에 {actual}을(를) 마운트하며, 계약은 {expected}이다."),
  ("Mount {expected} at {target}.", "{target}에 {expected}을(를) 마운트한다."))
_("VOL-03", "volumes", MEDIUM, ("A mount that nobody declared", "계약에 없는 마운트"),
  ("Container {container} mounts {source} at {actual}, which the contract does not know: it can be written there.",
   "{container} 컨테이너가 계약에 없는 {actual}에 {source}을(를) 마운트한다."),
  ("Remove the mount, or add it to the contract.", "마운트를 제거하거나 계약에 추가한다."))
_("VOL-04", "volumes", HIGH, ("A mount is read-only, or is not", "readOnly 불일치"),
  ("The mount at {target} has readOnly {actual}; the contract says {expected}.", "{target} 마운트의 readOnly는 {actual}이며, 계약은 {expected}이다."),
  ("Set readOnly to {expected}.", "readOnly를 {expected}(으)로 설정한다."))
_("VOL-05", "volumes", CRITICAL, ("A claim is missing", "PVC 없음"),
  ("There is no PersistentVolumeClaim {expected}.", "PersistentVolumeClaim {expected}이(가) 없다."),
  ("Add the claim {expected}.", "PVC {expected}을(를) 추가한다."))
_("VOL-06", "volumes", HIGH, ("A claim has another size", "PVC 용량 불일치"),
  ("{subject} asks for {actual}; the contract says {expected}.", "{subject}의 용량은 {actual}이며, 계약은 {expected}이다."),
  ("Ask for {expected}.", "용량을 {expected}(으)로 수정한다."))
_("VOL-07", "volumes", HIGH, ("A claim has another access mode", "PVC AccessMode 불일치"),
  ("{subject} has {actual}; the contract says {expected}.", "{subject}의 accessModes는 {actual}이며, 계약은 {expected}이다."),
  ("Set accessModes to {expected}.", "accessModes를 {expected}(으)로 수정한다."))
_("VOL-08", "volumes", HIGH, ("A claim has another storage class", "StorageClass 불일치"),
  ("{subject} has storage class {actual}; the contract says {expected}.", "{subject}의 StorageClass는 {actual}이며, 계약은 {expected}이다."),
  ("Set storageClassName to {expected}, or leave it out where that is the default.",
   "storageClassName을 {expected}(으)로 하거나, 기본값이면 생략한다."))
_("VOL-09", "volumes", HIGH, ("A hostPath differs", "hostPath 불일치"),
  ("Volume {name} has {field} {actual}; the contract says {expected}.", "{name} 볼륨의 {field}은(는) {actual}이며, 계약은 {expected}이다."),
  ("Set {field} to {expected}.", "{field}을(를) {expected}(으)로 설정한다."))
_("VOL-10", "volumes", MEDIUM, ("A volume is a folder of the node (CF-4)", "hostPath 볼륨 사용 (CF-4)"),
  ("Volume {name} of {owner} is no PVC but hostPath {actual} ({type}).", "{owner}의 {name} 볼륨이 PVC가 아닌 hostPath {actual} 사용 ({type})."),
  ("Use a PersistentVolumeClaim, or waive it with a reason.", "PVC로 전환하거나 사유와 함께 면제를 등록한다."))
_("VOL-11", "volumes", LOW, ("Several replicas share a volume of one node (CF-7)", "RWO 볼륨과 다중 replicas 조합 (CF-7)"),
  ("{subject} has {actual} replicas on {source}, which takes for granted that there is one node.",
   "{subject}: {source} + {actual} replicas 조합이 암묵적으로 단일 노드를 전제."),
  ("Set replicas to 1, or use storage that several nodes can share.", "replicas를 1로 하거나 여러 노드가 공유할 수 있는 스토리지를 사용한다."))
_("VOL-12", "volumes", MEDIUM, ("Two pods share a volume during an update", "업데이트 중 볼륨 동시 사용"),
  ("{subject} updates by {actual} with {source}: the new pod starts while the old one still writes.",
   "{subject}이(가) {source}을(를) 쓰면서 {actual} 방식으로 업데이트한다: 두 Pod가 동시에 쓴다."),
  ("Set strategy type to Recreate.", "strategy type을 Recreate로 설정한다."))
_("VOL-13", "volumes", HIGH, ("A mount has another subPath", "subPath 불일치"),
  ("The mount at {target} has subPath {actual}; the contract says {expected}.", "{target} 마운트의 subPath는 {actual}이며, 계약은 {expected}이다."),
  ("Set subPath to {expected}.", "subPath를 {expected}(으)로 설정한다."))

_("VOL-14", "volumes", MEDIUM, ("Several workloads share a volume of one node", "여러 워크로드의 RWO 볼륨 공유"),
  ("{actual} write to the claim {name}, which one node can mount.", "{actual}이(가) 한 노드만 마운트할 수 있는 PVC {name}을(를) 함께 쓴다."),
  ("Give {subject} a volume of its own, or mount this one read-only.", "{subject}에 별도의 볼륨을 주거나 읽기 전용으로 마운트한다."))

# --- 5. permissions ---------------------------------------------------------------------------------

_("PERM-01", "permissions", CRITICAL, ("A security context differs", "securityContext 불일치"),
  ("{field} of container {container} is {actual}; the contract says {expected}.", "{container} 컨테이너의 {field}은(는) {actual}이며, 계약은 {expected}이다."),
  ("Set {field} to {expected}.", "{field}을(를) {expected}(으)로 설정한다."))
_("PERM-06", "permissions", CRITICAL, ("The group of the volumes differs", "fsGroup 불일치"),
  ("fsGroup of {subject} is {actual}; the contract says {expected}.", "{subject}의 fsGroup은 {actual}이며, 계약은 {expected}이다."),
  ("Set fsGroup to {expected}.", "fsGroup을 {expected}(으)로 설정한다."))
_("PERM-02", "permissions", HIGH, ("The image runs as somebody else", "이미지 USER 불일치"),
  ("{subject} runs as {actual}; the contract says {expected}.", "{subject}의 USER는 {actual}이며, 계약은 {expected}이다."),
  ("Write `USER {expected}` in the Dockerfile.", "Dockerfile에 `USER {expected}`를 쓴다."))
_("PERM-03", "permissions", HIGH, ("A folder of the image belongs to somebody else", "이미지 디렉토리 소유자 불일치"),
  ("{path} in {subject} belongs to {actual}; the contract says {expected}.", "{subject}의 {path} 소유자는 {actual}이며, 계약은 {expected}이다."),
  ("Add `chown -R {expected} {path}` to the Dockerfile.", "Dockerfile에 `chown -R {expected} {path}`를 추가한다."))
_("PERM-04", "permissions", MEDIUM, ("The app makes folders", "앱의 mkdir() 호출"),
  ("{call} in the app: it may only resolve paths, and a read-only file system refuses it.",
   "앱이 {call}을(를) 호출한다: 앱은 경로 해석만 담당하며 읽기 전용 파일 시스템에서 실패한다."),
  ("Remove the call; volumes bring the folders.", "호출을 제거한다. 디렉토리는 인프라가 만든다."))
_("PERM-05", "permissions", LOW, ("The app tries to make folders (CF-5)", "앱의 mkdir() 호출, 무력화됨 (CF-5)"),
  ("{call} is at odds with `the app never makes folders`, but try/except makes it harmless on a read-only file system.",
   "{call} 호출이 \"앱: mkdir 금지\" 원칙과 불일치하나, readOnlyRootFilesystem 환경에서 try/except로 무력화되어 실행 계약 위반은 아님."),
  ("Remove the call; volumes bring the folders.", "호출을 제거한다. 디렉토리는 인프라가 만든다."), kind=Kind.DRIFT)

# --- Secrets (fixed contract 3) ---------------------------------------------------------------------

_("SEC-01", "secrets", CRITICAL, ("A Secret of another name is asked for", "Secret 이름 불일치"),
  ("{subject} takes Secret {actual}; the contract knows {expected}.", "{subject}이(가) Secret {actual}을(를) 참조하며, 계약은 {expected}이다."),
  ("Refer to {expected}.", "{expected}을(를) 참조하도록 수정한다."))
_("SEC-02", "secrets", CRITICAL, ("Nothing makes a Secret that is asked for (CF-1)", "SealedSecret → Secret 이름 불일치 (CF-1)"),
  ("Secret {expected} is taken by {subject}, and nothing here makes it; what is made: {actual}.",
   "{subject}이(가) 참조하는 Secret({expected})을 만드는 것이 없다. 생성되는 Secret: {actual}."),
  ("Seal one SealedSecret {expected} with all its keys.", "모든 키를 담은 SealedSecret {expected}을(를) 만든다."))
_("SEC-03", "secrets", HIGH, ("A Secret lacks a key (CF-2)", "Secret 키 누락 (CF-2)"),
  ("{subject} has no key {key}.", "{subject}에 {key} 키가 없다."),
  ("Add {key} to the vault and seal again.", "vault에 {key}을(를) 추가하고 다시 봉인한다."))
_("SEC-04", "secrets", HIGH, ("A Secret is optional that is none", "Secret 참조가 optional"),
  ("{subject} takes {secret} as optional, so a pod without it starts and fails later.",
   "{subject}이(가) {secret}을(를) optional로 참조하여, 없어도 Pod가 시작된 뒤 실패한다."),
  ("Set optional to false, or leave it out.", "optional을 false로 하거나 생략한다."))
_("SEC-05", "secrets", CRITICAL, ("The image cannot be pulled", "imagePullSecrets 없음"),
  ("{subject} does not name {expected} among its imagePullSecrets.", "{subject}의 imagePullSecrets에 {expected}이(가) 없다."),
  ("Add {expected} to imagePullSecrets.", "imagePullSecrets에 {expected}을(를) 추가한다."))
_("SEC-06", "secrets", HIGH, ("A Secret is not sealed (CF-3)", "평문 Secret (CF-3)"),
  ("{subject} is a plain Secret: whoever reads the file has the values.", "{subject}은(는) 평문 Secret이며, 파일을 읽으면 값이 노출된다."),
  ("Seal it, remove the file from git, and change the values.", "봉인하고 git에서 제거한 뒤 값을 교체한다."))
_("SEC-07", "secrets", HIGH, ("A Secret has another type", "Secret 타입 불일치"),
  ("{subject} has type {actual}; the contract says {expected}.", "{subject}의 타입은 {actual}이며, 계약은 {expected}이다."),
  ("Set the type to {expected}.", "타입을 {expected}(으)로 설정한다."))
_("SEC-08", "secrets", CRITICAL, ("A SealedSecret cannot be opened where it is", "열 수 없는 SealedSecret"),
  ("{subject} makes {actual}; it was sealed for {expected}, and name and namespace are sealed in.",
   "{subject}은(는) {actual}을(를) 만들지만 {expected}(으)로 봉인되어 있어 열 수 없다."),
  ("Seal it again for the name and namespace that it has.", "현재 이름과 네임스페이스로 다시 봉인한다."))
_("SEC-09", "secrets", LOW, ("A Secret has a key that nobody declared", "계약에 없는 Secret 키"),
  ("{subject} has the key {key}, which the contract does not know.", "{subject}에 계약에 없는 {key} 키가 있다."),
  ("Remove {key}, or add it to the contract.", "{key}을(를) 제거하거나 계약에 추가한다."), kind=Kind.DRIFT)
_("SEC-10", "secrets", LOW, ("A Secret that nobody takes", "참조되지 않는 Secret"),
  ("{subject} makes Secret {actual}, and no workload refers to it.", "{subject}이(가) 만드는 Secret {actual}을(를) 참조하는 워크로드가 없다."),
  ("Remove it, or refer to it.", "제거하거나 참조하도록 수정한다."), kind=Kind.DRIFT)

# --- images and workloads ---------------------------------------------------------------------------

_("IMG-01", "images", CRITICAL, ("Another image runs", "이미지 불일치"),
  ("Container {container} runs {actual}; the contract says {expected}.", "{container} 컨테이너의 이미지는 {actual}이며, 계약은 {expected}이다."),
  ("Set the image to {expected}.", "이미지를 {expected}(으)로 설정한다."))
_("IMG-02", "images", HIGH, ("An image has a tag that the policy forbids", "이미지 태그 정책 위반"),
  ("Container {container} has tag {actual}; allowed is {expected}.", "{container} 컨테이너의 태그는 {actual}이며, 허용되는 형식은 {expected}이다."),
  ("Set a tag of the form {expected}.", "{expected} 형식의 태그를 설정한다."))
_("IMG-03", "images", HIGH, ("An image is not pinned", "latest 태그 사용"),
  ("Container {container} runs {actual}: what that is changes without anybody's doing.",
   "{container} 컨테이너가 {actual}을(를) 실행한다: 재현성이 없다."),
  ("Set a tag of the form {expected}.", "{expected} 형식의 태그를 설정한다."))

_("WORK-01", "workloads", CRITICAL, ("A workload is missing", "워크로드 없음"),
  ("There is no {expected}{instead}.", "{expected}이(가) 없다{instead}."),
  ("Add {expected}, or give it back its name and kind.", "{expected}을(를) 추가하거나 이름과 종류를 되돌린다."))
_("WORK-02", "workloads", CRITICAL, ("A container is missing", "컨테이너 없음"),
  ("{subject} has no container {expected}.", "{subject}에 {expected} 컨테이너가 없다."),
  ("Give the container back its name {expected}.", "컨테이너 이름을 {expected}(으)로 되돌린다."))
_("WORK-03", "workloads", HIGH, ("A setting of a workload differs", "워크로드 설정 불일치"),
  ("{field} of {subject} is {actual}; the contract says {expected}.", "{subject}의 {field}은(는) {actual}이며, 계약은 {expected}이다."),
  ("Set {field} to {expected}.", "{field}을(를) {expected}(으)로 설정한다."))
_("WORK-04", "workloads", MEDIUM, ("Resources of a container differ", "리소스 제한 불일치"),
  ("{field} of container {container} is {actual}; the contract says {expected}.", "{container} 컨테이너의 {field}은(는) {actual}이며, 계약은 {expected}이다."),
  ("Set {field} to {expected}.", "{field}을(를) {expected}(으)로 설정한다."))
_("WORK-05", "workloads", CRITICAL, ("An object is in another namespace", "네임스페이스 불일치"),
  ("{subject} is in namespace {actual}; the others are in {expected}.", "{subject}의 네임스페이스는 {actual}이며, 나머지는 {expected}이다."),
  ("Set the namespace to {expected}.", "네임스페이스를 {expected}(으)로 설정한다."))
_("WORK-06", "workloads", HIGH, ("A workload can leave the node that has its folders", "nodeSelector 불일치"),
  ("{subject} is kept on {actual}; its volumes are on {expected}.", "{subject}의 노드는 {actual}이며, 볼륨은 {expected}에 있다."),
  ("Set nodeSelector kubernetes.io/hostname to {expected}.", "nodeSelector kubernetes.io/hostname을 {expected}(으)로 설정한다."))

# --- references -------------------------------------------------------------------------------------

_("REF-01", "references", CRITICAL, ("A reference leads nowhere", "존재하지 않는 참조"),
  ("{subject} refers to {expected}, and there is none.", "{subject}이(가) 참조하는 {expected}이(가) 없다."),
  ("Add {expected}, or correct the reference.", "{expected}을(를) 추가하거나 참조를 수정한다."))
_("REF-02", "references", CRITICAL, ("A key that is asked for is missing", "존재하지 않는 키 참조"),
  ("{subject} asks {owner} for the key {expected}, and it has none of that name.", "{subject}이(가) {owner}의 {expected} 키를 참조하지만 없다."),
  ("Add {expected} to {owner}, or correct the reference.", "{owner}에 {expected}을(를) 추가하거나 참조를 수정한다."))
_("REF-03", "references", CRITICAL, ("A selector selects nothing", "셀렉터 불일치"),
  ("{subject} selects {actual}, and no pod has these labels.", "{subject}의 셀렉터 {actual}에 해당하는 Pod가 없다."),
  ("Make the selector fit the pods' labels{expected}.", "셀렉터를 Pod 레이블에 맞춘다{expected}."))
_("REF-04", "references", CRITICAL, ("A Service leads to a port that no pod has", "Service targetPort 대상 없음"),
  ("{subject} sends to port {actual}, and the pods that it selects have {expected}.", "{subject}의 targetPort {actual}이(가) Pod 포트({expected})에 없다."),
  ("Name one of the pods' ports.", "Pod 포트 중 하나를 지정한다."))
_("REF-05", "references", CRITICAL, ("A mount without a volume", "정의되지 않은 볼륨 마운트"),
  ("{subject} mounts volume {expected}, and its pod has none of that name.", "{subject}이(가) 정의되지 않은 볼륨 {expected}을(를) 마운트한다."),
  ("Add the volume {expected}, or correct the name.", "볼륨 {expected}을(를) 추가하거나 이름을 수정한다."))
_("REF-06", "references", CRITICAL, ("A selector does not fit the workload's own pods", "selector와 template 레이블 불일치"),
  ("{subject} selects {expected}, and its pods have {actual}.", "{subject}의 selector는 {expected}이고 Pod 레이블은 {actual}이다."),
  ("Make the labels of the template fit the selector.", "template 레이블을 selector에 맞춘다."))
_("REF-07", "references", CRITICAL, ("An object is there twice", "중복 오브젝트"),
  ("{subject} is declared again.", "{subject}이(가) 중복 선언되었다."),
  ("Remove one of the two.", "둘 중 하나를 제거한다."))
_("REF-08", "references", LOW, ("A volume that nobody mounts", "사용되지 않는 볼륨"),
  ("{subject} has the volume {actual}, and no container mounts it.", "{subject}의 볼륨 {actual}을(를) 마운트하는 컨테이너가 없다."),
  ("Remove the volume, or mount it.", "볼륨을 제거하거나 마운트한다."), kind=Kind.DRIFT)

# --- the repository (CF-3, CF-6) --------------------------------------------------------------------

_("REPO-01", "repository", HIGH, ("A plain Secret is in git (CF-3)", "평문 Secret이 Git에 커밋됨 (CF-3)"),
  ("{subject} holds a plain Secret with {keys}.", "{subject}에 평문 Secret이 있다 ({keys})."),
  ("Run `git rm --cached {subject}`, ignore it, seal it, and change the values: history keeps them.",
   "`git rm --cached {subject}` 후 .gitignore에 등록하고, 봉인하고, 값을 교체한다 (히스토리에 남는다)."))
_("REPO-02", "repository", HIGH, ("A kubeconfig or private key is in git (CF-3)", "kubeconfig가 Git에 커밋됨 (CF-3)"),
  ("{subject} holds {actual}.", "{subject}에 {actual}이(가) 있다."),
  ("Run `git rm --cached {subject}`, ignore it, and replace the credentials: history keeps them.",
   "`git rm --cached {subject}` 후 .gitignore에 등록하고 인증 정보를 교체한다 (히스토리에 남는다)."))
_("REPO-03", "repository", HIGH, ("A secret is still in git's history (CF-3)", "Git 히스토리에 남은 비밀 (CF-3)"),
  ("{subject} held {actual} in commit {commit}.", "커밋 {commit}의 {subject}에 {actual}이(가) 있었다."),
  ("Change the values, then rewrite history with git filter-repo where the repository is shared.",
   "값을 교체하고, 저장소를 공유한다면 git filter-repo로 히스토리를 재작성한다."))
_("REPO-04", "repository", MEDIUM, ("A document names a path that the contract does not know (CF-6)", "문서 경로 불일치 (CF-6)"),
  ("{subject} names {actual}; the contract has {expected}.", "{subject}의 경로 {actual}이(가) 현재 계약 경로({expected})와 불일치."),
  ("Correct the path in the document.", "문서의 경로를 수정한다."))
_("REPO-05", "repository", HIGH, ("latest is used", "latest 태그 사용"),
  ("{subject} uses the image {actual}.", "{subject}이(가) 이미지 {actual}을(를) 사용한다."),
  ("Pin a tag that the contract allows.", "계약이 허용하는 태그로 고정한다."))
_("REPO-06", "repository", HIGH, ("A sealed file cannot be opened", "열 수 없는 봉인 파일"),
  ("{subject} is sealed for {actual}; the contract has {expected}.", "{subject}은(는) {actual}(으)로 봉인되어 있으며, 계약은 {expected}이다."),
  ("Seal it again for one of the environments.", "환경 중 하나로 다시 봉인한다."))

_("REPO-07", "repository", HIGH, ("A guide leaves out keys of a Secret (CF-2)", "Secret 생성 가이드에 키 누락 (CF-2)"),
  ("{subject} tells how to make Secret {secret} without {expected}.", "{subject}의 {secret} 수동 생성 가이드에 {expected} 누락."),
  ("Add {expected} to the command, or seal the Secret instead.", "명령에 {expected}을(를) 추가하거나 봉인된 Secret으로 대체한다."))

# --- about the check itself -------------------------------------------------------------------------

_("CHECK-01", "check", MEDIUM, ("Something could not be checked", "확인할 수 없음"),
  ("{reason}", "{reason}"),
  ("Write it so that it can be resolved, or check it by hand.", "해석할 수 있게 쓰거나 직접 확인한다."), kind=Kind.UNCHECKED)
_("CHECK-02", "check", MEDIUM, ("A waiver has expired", "만료된 면제"),
  ("The waiver of {code} on {subject} by {owner} expired on {actual}.", "{subject}의 {code} 면제({owner})가 {actual}에 만료되었다."),
  ("Mend what it covers, or give it a new reason and expiry.", "면제 대상을 수정하거나 사유와 만료일을 갱신한다."))
_("CHECK-03", "check", LOW, ("A waiver covers nothing", "대상 없는 면제"),
  ("The waiver of {code} on {subject} covers no finding.", "{subject}의 {code} 면제에 해당하는 항목이 없다."),
  ("Remove it from the contract.", "계약에서 제거한다."), kind=Kind.DRIFT)
_("EXT-01", "external", LOW, ("An outside service refuses", "외부 의존성 실패"),
  ("{subject}: {reason}. Neither the app nor the infrastructure is at fault.", "{subject}: {reason}. 앱이나 인프라의 계약 위반이 아니다."),
  ("Renew what the service refuses.", "외부 서비스가 거부하는 항목을 갱신한다."), kind=Kind.EXTERNAL)


def sentence(finding: Finding, part: Literal["title", "message", "remedy"], language: str) -> str:
    """A finding's sentence. A value that is missing shows as its name, and an unknown code as itself: a report is never
    lost for want of a word."""
    code = CODES.get(finding.code)
    if code is None:
        return finding.code
    texts: Mapping[str, str] = getattr(code, part)
    values = {"expected": finding.expected, "actual": finding.actual, "subject": finding.subject, **finding.values}
    return re.sub(r"\{(\w+)\}", lambda match: values.get(match[1], match[1]), texts.get(language) or texts["en"])


# They register themselves in the table above, and need what is above for it.
from . import codes_living  # noqa: E402, F401
