"""The doors to the world: what the node asks of storage, network, runtime, chain, hardware and clock.

Adapters implement these and translate foreign errors into `market.errors`; `app.py` alone chooses them.
"""

from contracts.values import Balances as Balances
from contracts.values import ChannelOnChain as ChannelOnChain
from contracts.values import Claim as Claim
from contracts.values import Receipt as Receipt
from node.ports.builds import BuildEnd as BuildEnd
from node.ports.builds import Builder as Builder
from node.ports.builds import BuildSpec as BuildSpec
from node.ports.builds import Hear as Hear
from node.ports.chain import Chain as Chain
from node.ports.chain import ChainNews as ChainNews
from node.ports.clock import Clock as Clock
from node.ports.containers import Containers as Containers
from node.ports.containers import Sample as Sample
from node.ports.containers import Session as Session
from node.ports.credentials import Claims as Claims
from node.ports.credentials import Passwords as Passwords
from node.ports.credentials import Tokens as Tokens
from node.ports.downloads import Downloads as Downloads
from node.ports.gpus import Gpus as Gpus
from node.ports.gpus import GpuUse as GpuUse
from node.ports.images import ImageStore as ImageStore
from node.ports.images import PullProgress as PullProgress
from node.ports.inspection import Finding as Finding
from node.ports.inspection import Inspector as Inspector
from node.ports.network import ByteStream as ByteStream
from node.ports.network import Gossip as Gossip
from node.ports.network import Network as Network
from node.ports.network import Peer as Peer
from node.ports.network import RequestHandler as RequestHandler
from node.ports.network import StreamHandler as StreamHandler
from node.ports.network import Streams as Streams
from node.ports.public_ports import Dial as Dial
from node.ports.public_ports import OpenPort as OpenPort
from node.ports.public_ports import PublicPorts as PublicPorts
from node.ports.runtime import Container as Container
from node.ports.runtime import ContainerSpec as ContainerSpec
from node.ports.runtime import Exit as Exit
from node.ports.runtime import Image as Image
from node.ports.runtime import LogLine as LogLine
from node.ports.runtime import Machine as Machine
from node.ports.runtime import OutputFile as OutputFile
from node.ports.runtime import Runtime as Runtime
from node.ports.runtime import RuntimeHealth as RuntimeHealth
from node.ports.sandboxes import CodeResult as CodeResult
from node.ports.sandboxes import CodeRun as CodeRun
from node.ports.sandboxes import CodeSpec as CodeSpec
from node.ports.sandboxes import Language as Language
from node.ports.sandboxes import Sandboxes as Sandboxes
from node.ports.storage import Reader as Reader
from node.ports.storage import Storage as Storage
from node.ports.storage import Tx as Tx
from node.ports.volumes import KeptFolders as KeptFolders
from node.ports.watchdog import Watchdog as Watchdog
